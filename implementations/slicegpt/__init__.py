"""SliceGPT: see `README.md` and `slicegpt.py` beside this file."""

from implementations.slicegpt.slicegpt import SliceGPT

__all__ = ["SliceGPT"]
