"""Command-line tools of the atlas: the catalog, the site generator and the demo."""
