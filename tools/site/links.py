"""Whether the links of the site lead somewhere."""

from __future__ import annotations

import html
import posixpath
import re
from collections.abc import Container, Iterator, Mapping
from urllib.parse import unquote, urlsplit

LINK = re.compile(r'<[^<>]*\s(?:xlink:)?(?:href|src)="([^"<>]*)"')
ANCHOR = re.compile(r'<[^<>]*\sid="([^"]*)"')


def broken(pages: Mapping[str, str], files: Container[str]) -> Iterator[str]:
    """Name each link of pages, which are HTML by path, to what is none of the files or no anchor.

    Of files that are none of these pages no anchors are known.
    """
    anchors = {path: set(ANCHOR.findall(page)) for path, page in pages.items()}
    for path, page in pages.items():
        for address in dict.fromkeys(LINK.findall(page)):
            parts = urlsplit(html.unescape(address))
            if parts.scheme or parts.netloc:
                continue
            target = path
            if parts.path:
                folder = posixpath.dirname(path)
                target = posixpath.normpath(posixpath.join(folder, unquote(parts.path)))
            if target not in files:
                yield f"{path} links to {address}, which is no file of the site"
            elif parts.fragment and unquote(parts.fragment) not in anchors.get(
                target, {unquote(parts.fragment)}
            ):
                yield f"{path} links to {address}, and there is no such anchor"
