"""EvoP: see `README.md` and `evop.py` beside this file."""

from implementations.evop.evop import EvoP

__all__ = ["EvoP"]
