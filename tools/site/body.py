"""The body of a page, finished: whoever puts a frame around it has nothing left to do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element

from markdown.extensions.toc import nest_toc_tokens
from markdown.treeprocessors import Treeprocessor

from implementations.harness.errors import BadInput
from tools.site.access import focusable_code
from tools.site.dialect import reader
from tools.site.formulas import set_formulas
from tools.site.headings import headings
from tools.site.menu import Group, beside
from tools.site.render import fill

FOREIGN = '<header class="atlas-paper">'
"""In a page whose headings are HTML before Markdown is read."""
SOURCE = re.compile(r"^(?!/)([\w./-]+)\.md(?=[?#]|$)")
"""An address on this site that names a page by the file it is made from."""


@dataclass(frozen=True)
class Body:
    """What stands in the frame of a page."""

    html: str
    contents: list[dict[str, Any]]
    """Its headings, each with those below it: `level`, `id`, `name` as HTML, `children`."""


def finish(path: str, said: Mapping[str, Any], text: str, menu: Group) -> Body:
    """Make the body of a page from its path, its front matter and what stands below that.

    It begins with the ways to the pages above it and beside it in the menu. Raises `BadInput` for
    a formula that cannot be set.
    """
    html, found = (text, []) if said.get("html") else _read(text)
    try:
        html = focusable_code(set_formulas(html))
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from error
    ways = fill("ways.html", path=path, trail=said.get("trail"), beside=beside(menu, path))
    return Body(ways + html, contents(html) if FOREIGN in html else found)


def contents(html: str) -> list[dict[str, Any]]:
    """List the second and third headings that have an anchor, the third below the second."""
    tokens = [
        {"level": rank, "id": anchor, "name": words} for rank, anchor, words in headings(html)
    ]
    nested: list[dict[str, Any]] = nest_toc_tokens(tokens)
    return nested


def _read(text: str) -> tuple[str, list[dict[str, Any]]]:
    """Return Markdown as HTML, and its headings."""
    markdown = reader()
    markdown.treeprocessors.register(_Links(markdown), "pages", 0)
    return markdown.convert(text), markdown.toc_tokens


class _Links(Treeprocessor):
    """Points links to where pages are read; in Markdown they name the files these are made from."""

    def run(self, root: Element) -> None:
        for link in root.iter("a"):
            if address := link.get("href"):
                link.set("href", SOURCE.sub(r"\1.html", address))
