"""2SSP: see `README.md` and `twossp.py` beside this file."""

from implementations.twossp.twossp import TwoSSP

__all__ = ["TwoSSP"]
