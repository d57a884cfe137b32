"""The contents of a page from its headings, also from those that are no Markdown of the page."""

from __future__ import annotations

from markdown.extensions.toc import nest_toc_tokens
from mkdocs.structure.toc import TableOfContents, get_toc

from tools.site.headings import headings


def contents(page: str) -> TableOfContents:
    """Return the second and third headings that have an anchor, the third below the second."""
    tokens = [
        {"level": rank, "id": anchor, "name": words} for rank, anchor, words in headings(page)
    ]
    return get_toc(nest_toc_tokens(tokens))
