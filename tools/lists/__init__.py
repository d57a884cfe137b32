"""Awesome lists: Markdown pages with one paper per line."""
