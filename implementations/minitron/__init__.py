"""Minitron: see `README.md` and `minitron.py` beside this file."""

from implementations.minitron.minitron import Minitron

__all__ = ["Minitron"]
