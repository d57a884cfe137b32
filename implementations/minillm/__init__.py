"""MiniLLM: see `README.md` and `minillm.py` beside this file."""

from implementations.minillm.minillm import MiniLLM

__all__ = ["MiniLLM"]
