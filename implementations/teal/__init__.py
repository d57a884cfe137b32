"""TEAL: see `README.md` and `teal.py` beside this file."""

from implementations.teal.teal import TEAL

__all__ = ["TEAL"]
