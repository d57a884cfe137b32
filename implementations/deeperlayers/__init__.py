"""Deeper Layers: see `README.md` and `deeperlayers.py` beside this file."""

from implementations.deeperlayers.deeperlayers import DeeperLayers

__all__ = ["DeeperLayers"]
