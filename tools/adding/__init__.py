"""Parts of `add_paper.py` and `update_paper.py`: build one valid entry and write it."""
