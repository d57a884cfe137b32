"""The entry of a new paper."""
