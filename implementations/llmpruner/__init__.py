"""LLM-Pruner: see `README.md` and `llmpruner.py` beside this file."""

from implementations.llmpruner.llmpruner import LLMPruner

__all__ = ["LLMPruner"]
