"""The embedded model and texts, pinned, checked and cached; wheels and the hub."""
