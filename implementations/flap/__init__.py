"""FLAP: see `README.md` and `flap.py` beside this file."""

from implementations.flap.flap import FLAP

__all__ = ["FLAP"]
