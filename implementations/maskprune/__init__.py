"""MaskPrune: see `README.md` and `maskprune.py` beside this file."""

from implementations.maskprune.maskprune import MaskPrune

__all__ = ["MaskPrune"]
