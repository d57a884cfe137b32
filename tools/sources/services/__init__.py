"""The sources, one per file; `registry.py` lists them and explains how to add one."""
