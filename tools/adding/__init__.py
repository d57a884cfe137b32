"""From an identifier, a file or answers to one valid entry; the parts of `add_paper.py`."""
