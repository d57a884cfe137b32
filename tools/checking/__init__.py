"""Parts of `check_catalog.py`: reports of problems, and the comparison with the sources."""
