"""ALPS: see `README.md` and `alps.py` beside this file."""

from implementations.alps.alps import ALPS

__all__ = ["ALPS"]
