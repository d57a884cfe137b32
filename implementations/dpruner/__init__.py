"""D-Pruner: see `README.md` and `dpruner.py` beside this file."""

from implementations.dpruner.dpruner import DPruner

__all__ = ["DPruner"]
