"""OSSCAR: see `README.md` and `osscar.py` beside this file."""

from implementations.osscar.osscar import OSSCAR

__all__ = ["OSSCAR"]
