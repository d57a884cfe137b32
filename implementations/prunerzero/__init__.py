"""Pruner-Zero: see `README.md` and `prunerzero.py` beside this file."""

from implementations.prunerzero.prunerzero import PrunerZero

__all__ = ["PrunerZero"]
