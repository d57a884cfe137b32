"""The headings of a page that is HTML already."""

from __future__ import annotations

import re

HEADING = re.compile(r'<h([23])(?: [^<>]*)? id="([^"]+)"[^<>]*>(.*?)</h\1>', re.DOTALL)
PERMALINK = re.compile(r'<a class="headerlink".*', re.DOTALL)
TAG = re.compile(r"<[^<>]*>")


def headings(page: str) -> list[tuple[int, str, str]]:
    """List rank, anchor and words, as HTML, of the second and third headings with an anchor."""
    return [
        (int(rank), anchor, TAG.sub("", PERMALINK.sub("", words)).strip())
        for rank, anchor, words in HEADING.findall(page)
    ]
