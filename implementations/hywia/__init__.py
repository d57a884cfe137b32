"""HyWIA: see `README.md` and `hywia.py` beside this file."""

from implementations.hywia.hywia import HyWIA

__all__ = ["HyWIA"]
