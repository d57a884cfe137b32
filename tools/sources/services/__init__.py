"""The sources, a file each; `table.py` lists them and says how to add one."""
