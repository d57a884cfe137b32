"""The Atom feed of the papers added last."""

from __future__ import annotations

import html
import uuid
from collections.abc import Iterator
from datetime import date
from itertools import groupby
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from tools.site.atlas import Atlas
from tools.site.render import printable

ATOM = "http://www.w3.org/2005/Atom"
MAX_ENTRIES = 50
MAX_SINGLE = 20
"""If more papers were added on one day, they share one entry of the feed."""
TITLE = "Pruning Atlas: papers added"
PAGE = "catalog.html?sort=added"
"""The page with the same papers."""


def pages(atlas: Atlas) -> Iterator[tuple[str, str]]:
    """Yield the feed."""
    yield "feed.xml", feed(atlas)


def newest_added(atlas: Atlas) -> list[str]:
    """Sort the papers by the day they were added, newest first, and by name within a day."""
    by_name = sorted(atlas.papers, key=lambda slug: atlas.names[slug].lower())
    return sorted(by_name, key=lambda slug: atlas.papers[slug].added, reverse=True)


def feed(atlas: Atlas) -> str:
    """Write the feed; links are relative if the address of the site is not known.

    Identifiers are made from slugs alone, so that they stay the same if the site moves.
    """
    slugs = newest_added(atlas)
    root = Element("feed", xmlns=ATOM)
    _text(root, "title", TITLE)
    _text(root, "id", identifier("feed"))
    _text(root, "updated", _midnight(atlas.papers[slugs[0]].added if slugs else "1970-01-01"))
    _text(SubElement(root, "author"), "name", "Pruning Atlas")
    _link(root, atlas.address(PAGE))
    if atlas.site:
        SubElement(root, "link", rel="self", href=atlas.address("feed.xml"))
    for day, added in groupby(slugs, lambda slug: atlas.papers[slug].added):
        same_day = list(added)
        if len(same_day) > MAX_SINGLE:
            _day(root, day, same_day, atlas)
        else:
            for slug in same_day:
                _paper(root, slug, atlas)
    for entry in root.findall("entry")[MAX_ENTRIES:]:
        root.remove(entry)
    indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + tostring(root, encoding="unicode") + "\n"


def identifier(name: str) -> str:
    """Return an identifier that depends on nothing but the name."""
    return uuid.uuid5(uuid.NAMESPACE_URL, f"urn:pruning-atlas:{name}").urn


def long_date(day: str) -> str:
    """Write a date as `25 November 2026`; return other text unchanged."""
    try:
        when = date.fromisoformat(day)
    except ValueError:
        return day
    return f"{when.day} {when:%B %Y}"


def _paper(root: Element, slug: str, atlas: Atlas) -> None:
    paper, name = atlas.papers[slug], atlas.names[slug]
    entry = SubElement(root, "entry")
    _text(entry, "title", paper.title if name in paper.title else f"{name}: {paper.title}")
    _text(entry, "id", identifier(f"papers/{slug}"))
    _text(entry, "updated", _midnight(paper.added))
    for person in paper.authors or ():
        _text(SubElement(entry, "author"), "name", person)
    _link(entry, atlas.address(f"papers/{slug}.html"))
    _text(entry, "summary", paper.summary)


def _day(root: Element, day: str, slugs: list[str], atlas: Atlas) -> None:
    entry = SubElement(root, "entry")
    _text(entry, "title", f"{len(slugs)} papers added on {long_date(day)}")
    _text(entry, "id", identifier(f"days/{day}"))
    _text(entry, "updated", _midnight(day))
    _link(entry, atlas.address(PAGE))
    items = "".join(f"<li>{_html_link(slug, atlas)}</li>" for slug in slugs)
    _text(entry, "content", f"<ul>{items}</ul>")
    entry[-1].set("type", "html")


def _link(parent: Element, address: str) -> None:
    SubElement(parent, "link", rel="alternate", type="text/html", href=address)


def _html_link(slug: str, atlas: Atlas) -> str:
    address = html.escape(atlas.address(f"papers/{slug}.html"))
    name, title = html.escape(atlas.names[slug]), html.escape(atlas.papers[slug].title)
    return f'<a href="{address}">{name}</a>: {title}'


def _midnight(day: str) -> str:
    return f"{day}T00:00:00Z"


def _text(parent: Element, name: str, text: str) -> None:
    """Add an element of text without the characters that XML forbids."""
    SubElement(parent, name).text = printable(text).replace("\ufffe", "").replace("\uffff", "")
