"""BESA: see `README.md` and `besa.py` beside this file."""

from implementations.besa.besa import BESA

__all__ = ["BESA"]
