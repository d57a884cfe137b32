"""Awesome lists: Markdown pages with one paper a line, as others keep them."""
