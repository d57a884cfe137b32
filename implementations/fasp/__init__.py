"""FASP: see `README.md` and `fasp.py` beside this file."""

from implementations.fasp.fasp import FASP

__all__ = ["FASP"]
