"""DSnoT: see `README.md` and `dsnot.py` beside this file."""

from implementations.dsnot.dsnot import DSnoT

__all__ = ["DSnoT"]
