"""Tokens: read, cut, drawn by a seed, proved disjoint."""
