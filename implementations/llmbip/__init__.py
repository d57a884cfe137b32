"""LLM-BIP: see `README.md` and `llmbip.py` beside this file."""

from implementations.llmbip.llmbip import LLMBIP

__all__ = ["LLMBIP"]
