"""The HTTP client of the sources."""
