"""SlimGPT: see `README.md` and `slimgpt.py` beside this file."""

from implementations.slimgpt.slimgpt import SlimGPT

__all__ = ["SlimGPT"]
