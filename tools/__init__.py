"""Scripts around the atlas: the site generator and the demo."""
