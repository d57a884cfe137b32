"""SAAP: see `README.md` and `saap.py` beside this file."""

from implementations.saap.saap import SAAP

__all__ = ["SAAP"]
