"""GBLM-Pruner: see `README.md` and `gblmpruner.py` beside this file."""

from implementations.gblmpruner.gblmpruner import GBLMPruner

__all__ = ["GBLMPruner"]
