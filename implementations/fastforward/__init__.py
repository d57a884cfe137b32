"""FastForward: see `README.md` and `fastforward.py` beside this file."""

from implementations.fastforward.fastforward import FastForward

__all__ = ["FastForward"]
