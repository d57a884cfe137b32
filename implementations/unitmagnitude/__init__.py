"""Unit magnitude: see `README.md` and `unitmagnitude.py` beside this file."""

from implementations.unitmagnitude.unitmagnitude import UnitMagnitude

__all__ = ["UnitMagnitude"]
