"""Random units: see `README.md` and `random.py` beside this file."""

from implementations.random.random import Random

__all__ = ["Random"]
