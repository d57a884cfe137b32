"""CFSP: see `README.md` and `cfsp.py` beside this file."""

from implementations.cfsp.cfsp import CFSP

__all__ = ["CFSP"]
