"""Parts of `check_catalog`: reports of problems, and comparison with the sources."""
