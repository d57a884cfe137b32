"""Reading and writing of entries."""
