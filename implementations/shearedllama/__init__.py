"""Sheared LLaMA: see `README.md` and `shearedllama.py` beside this file."""

from implementations.shearedllama.shearedllama import ShearedLlama

__all__ = ["ShearedLlama"]
