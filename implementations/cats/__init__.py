"""CATS: see `README.md` and `cats.py` beside this file."""

from implementations.cats.cats import CATS

__all__ = ["CATS"]
