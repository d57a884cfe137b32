"""AlphaPruning: see `README.md` and `alphapruning.py` beside this file."""

from implementations.alphapruning.alphapruning import AlphaPruning

__all__ = ["AlphaPruning"]
