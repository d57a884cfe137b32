"""PruneLLM: see `README.md` and `prunellm.py` beside this file."""

from implementations.prunellm.prunellm import PruneLLM

__all__ = ["PruneLLM"]
