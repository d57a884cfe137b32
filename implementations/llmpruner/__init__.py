"""LLM-Pruner; see the README beside this file."""

from implementations.llmpruner.llmpruner import LLMPruner

__all__ = ["LLMPruner"]
