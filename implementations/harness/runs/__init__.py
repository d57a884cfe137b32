"""Single runs, sweeps and verification."""
