"""SoBP: see `README.md` and `sobp.py` beside this file."""

from implementations.sobp.sobp import SoBP

__all__ = ["SoBP"]
