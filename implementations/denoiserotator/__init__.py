"""DenoiseRotator: see `README.md` and `denoiserotator.py` beside this file."""

from implementations.denoiserotator.denoiserotator import DenoiseRotator

__all__ = ["DenoiseRotator"]
