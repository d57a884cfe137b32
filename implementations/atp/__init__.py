"""ATP: see `README.md` and `atp.py` beside this file."""

from implementations.atp.atp import ATP

__all__ = ["ATP"]
