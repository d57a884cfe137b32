"""SparseLLM: see `README.md` and `sparsellm.py` beside this file."""

from implementations.sparsellm.sparsellm import SparseLLM

__all__ = ["SparseLLM"]
