"""KVPruner: see `README.md` and `kvpruner.py` beside this file."""

from implementations.kvpruner.kvpruner import KVPruner

__all__ = ["KVPruner"]
