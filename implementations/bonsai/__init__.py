"""Bonsai: see `README.md` and `bonsai.py` beside this file."""

from implementations.bonsai.bonsai import Bonsai

__all__ = ["Bonsai"]
