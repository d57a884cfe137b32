"""GRIFFIN: see `README.md` and `griffin.py` beside this file."""

from implementations.griffin.griffin import Griffin

__all__ = ["Griffin"]
