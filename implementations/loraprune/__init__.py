"""LoRAPrune: see `README.md` and `loraprune.py` beside this file."""

from implementations.loraprune.loraprune import LoRAPrune

__all__ = ["LoRAPrune"]
