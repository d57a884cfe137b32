"""Entries: read from their folder and written in the one layout."""
