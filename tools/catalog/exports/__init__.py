"""The catalog for others: a module for each format, all of them in `formats`."""
