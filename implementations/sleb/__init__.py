"""SLEB: see `README.md` and `sleb.py` beside this file."""

from implementations.sleb.sleb import SLEB

__all__ = ["SLEB"]
