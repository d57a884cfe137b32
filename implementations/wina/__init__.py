"""WINA: see `README.md` and `wina.py` beside this file."""

from implementations.wina.wina import WINA

__all__ = ["WINA"]
