"""Adapt-Pruner: see `README.md` and `adaptpruner.py` beside this file."""

from implementations.adaptpruner.adaptpruner import AdaptPruner

__all__ = ["AdaptPruner"]
