"""Wanda++: see `README.md` and `wandapp.py` beside this file."""

from implementations.wandapp.wandapp import WandaPP

__all__ = ["WandaPP"]
