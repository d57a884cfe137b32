"""The contents of a page from its headings, also from those that are no Markdown of the page."""

from __future__ import annotations

import re

from markdown.extensions.toc import nest_toc_tokens
from mkdocs.structure.toc import TableOfContents, get_toc

HEADING = re.compile(r'<h([23])(?: [^<>]*)? id="([^"]+)"[^<>]*>(.*?)</h\1>', re.DOTALL)
PERMALINK = re.compile(r'<a class="headerlink".*', re.DOTALL)
TAG = re.compile(r"<[^<>]*>")


def contents(page: str) -> TableOfContents:
    """Return the second and third headings that have an anchor, the third below the second."""
    tokens = [
        {"level": int(level), "id": anchor, "name": TAG.sub("", PERMALINK.sub("", words)).strip()}
        for level, anchor, words in HEADING.findall(page)
    ]
    return get_toc(nest_toc_tokens(tokens))
