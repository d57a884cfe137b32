"""The schema of the catalog, its reader and writer, and what is made of it."""
