"""MoDeGPT: see `README.md` and `modegpt.py` beside this file."""

from implementations.modegpt.modegpt import MoDeGPT

__all__ = ["MoDeGPT"]
