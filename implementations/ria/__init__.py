"""RIA: see `README.md` and `ria.py` beside this file."""

from implementations.ria.ria import RIA

__all__ = ["RIA"]
