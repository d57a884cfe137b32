"""ELSA: see `README.md` and `elsa.py` beside this file."""

from implementations.elsa.elsa import ELSA

__all__ = ["ELSA"]
