"""ADMM pruning: see `README.md` and `admmpruning.py` beside this file."""

from implementations.admmpruning.admmpruning import ADMMPruning

__all__ = ["ADMMPruning"]
