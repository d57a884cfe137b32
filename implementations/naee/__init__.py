"""NAEE: see `README.md` and `naee.py` beside this file."""

from implementations.naee.naee import NAEE

__all__ = ["NAEE"]
