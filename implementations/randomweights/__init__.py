"""Random weights: see `README.md` and `randomweights.py` beside this file."""

from implementations.randomweights.randomweights import RandomWeights

__all__ = ["RandomWeights"]
