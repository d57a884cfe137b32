"""What `check_catalog` is made of: showing problems, mending files, asking the sources."""
