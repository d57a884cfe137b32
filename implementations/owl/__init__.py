"""OWL: see `README.md` and `owl.py` beside this file."""

from implementations.owl.owl import OWL

__all__ = ["OWL"]
