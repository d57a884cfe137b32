"""News: the papers by the day they were added, as a page and as an Atom feed."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import date
from itertools import groupby
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from tools.site.atlas import Atlas
from tools.site.render import Front, render, seen

ATOM = "http://www.w3.org/2005/Atom"
MOST = 50
"""Entries in the feed; the page has all."""
TITLE = "Pruning Atlas: papers added"
FRONT = Front(
    "news.md",
    "News",
    "Papers by the day they were added to the atlas.",
    menu="Learn / News",
    styles=("css/learn.css",),
    sources=("catalog/papers",),
    searched=False,
)


def pages(atlas: Atlas) -> Iterator[tuple[str, str]]:
    """Yield the page and the feed."""
    days = [
        (day, list(slugs)) for day, slugs in groupby(latest(atlas), lambda s: atlas.papers[s].added)
    ]
    yield FRONT.path, render("news", FRONT, atlas, days=days, said=said)
    yield "feed.xml", feed(atlas)


def latest(atlas: Atlas) -> list[str]:
    """List the papers, those added last first, of one day by name."""
    by_name = sorted(atlas.papers, key=lambda slug: atlas.names[slug].lower())
    return sorted(by_name, key=lambda slug: atlas.papers[slug].added, reverse=True)


def said(day: str) -> str:
    """Write a day to read: `25 November 2026`; what is no day stays."""
    try:
        when = date.fromisoformat(day)
    except ValueError:
        return day
    return f"{when.day} {when:%B %Y}"


def feed(atlas: Atlas) -> str:
    """Write the feed; its addresses are relative to its own where the site's is not known.

    Identifiers are made from slugs alone, so that they outlive every move of the site.
    """
    root = Element("feed", xmlns=ATOM)
    slugs = latest(atlas)[:MOST]
    _text(root, "title", TITLE)
    _text(root, "id", identifier("feed"))
    _text(root, "updated", _time(atlas.papers[slugs[0]].added) if slugs else _time("1970-01-01"))
    _text(SubElement(root, "author"), "name", "Pruning Atlas")
    SubElement(root, "link", rel="alternate", type="text/html", href=atlas.address("news.html"))
    if atlas.site:
        SubElement(root, "link", rel="self", href=atlas.address("feed.xml"))
    for slug in slugs:
        _entry(root, slug, atlas)
    indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + tostring(root, encoding="unicode") + "\n"


def identifier(name: str) -> str:
    """Return an identifier that depends on nothing but the name."""
    return uuid.uuid5(uuid.NAMESPACE_URL, f"urn:pruning-atlas:{name}").urn


def _entry(root: Element, slug: str, atlas: Atlas) -> None:
    paper = atlas.papers[slug]
    entry = SubElement(root, "entry")
    name = atlas.names[slug]
    _text(entry, "title", paper.title if name in paper.title else f"{name}: {paper.title}")
    _text(entry, "id", identifier(f"papers/{slug}"))
    _text(entry, "updated", _time(paper.added))
    for person in paper.authors or ():
        _text(SubElement(entry, "author"), "name", person)
    SubElement(
        entry,
        "link",
        rel="alternate",
        type="text/html",
        href=atlas.address(f"papers/{slug}.html"),
    )
    _text(entry, "summary", paper.summary)


def _time(day: str) -> str:
    return f"{day}T00:00:00Z"


def _text(parent: Element, name: str, text: str) -> None:
    """Add an element of text without the characters that XML forbids."""
    SubElement(parent, name).text = seen(text).replace("\ufffe", "").replace("\uffff", "")
