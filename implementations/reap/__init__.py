"""REAP: see `README.md` and `reap.py` beside this file."""

from implementations.reap.reap import REAP

__all__ = ["REAP"]
