"""News: the papers by the day they were added, as a page and as an Atom feed."""

from __future__ import annotations

import html
import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import date
from itertools import groupby
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from tools.catalog.exports.awesome_list import GROUPS, group
from tools.catalog.schema.paper import Paper
from tools.site.atlas import Atlas
from tools.site.render import Front, render, seen

ATOM = "http://www.w3.org/2005/Atom"
MOST = 50
"""Entries in the feed; the page has all."""
SINGLY = 20
"""Of one day so many papers are told one by one; more are told together, by what they are about."""
TITLE = "Pruning Atlas: papers added"
FRONT = Front(
    "news.md",
    "News",
    "Papers by the day they were added to the atlas.",
    styles=("css/learn.css",),
    sources=("catalog/papers",),
    searched=False,
)


def pages(atlas: Atlas) -> Iterator[tuple[str, str]]:
    """Yield the page and the feed."""
    yield FRONT.path, render("news", FRONT, atlas, days=days(atlas), said=said, sorted_=groups)
    yield "feed.xml", feed(atlas)


def days(atlas: Atlas) -> list[tuple[str, list[str]]]:
    """List the days on which papers were added, the last one first, with their papers."""
    found = groupby(latest(atlas), lambda slug: atlas.papers[slug].added)
    return [(day, list(slugs)) for day, slugs in found]


def groups(slugs: list[str], papers: Mapping[str, Paper]) -> list[tuple[str, list[str]]]:
    """Sort the papers of a day under the headings of `LIST.md`; few stay under none."""
    if len(slugs) <= SINGLY:
        return [("", slugs)]
    found: dict[str, list[str]] = defaultdict(list)
    for slug in slugs:
        found[group(papers[slug])].append(slug)
    return [(GROUPS[name], found[name]) for name in GROUPS if name in found]


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
    told = days(atlas)
    _text(root, "title", TITLE)
    _text(root, "id", identifier("feed"))
    _text(root, "updated", _time(told[0][0] if told else "1970-01-01"))
    _text(SubElement(root, "author"), "name", "Pruning Atlas")
    SubElement(root, "link", rel="alternate", type="text/html", href=atlas.address("news.html"))
    if atlas.site:
        SubElement(root, "link", rel="self", href=atlas.address("feed.xml"))
    for day, slugs in told:
        if len(slugs) > SINGLY:
            _day(root, day, slugs, atlas)
        else:
            for slug in slugs:
                _entry(root, slug, atlas)
    for entry in root.findall("entry")[MOST:]:
        root.remove(entry)
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


def _day(root: Element, day: str, slugs: list[str], atlas: Atlas) -> None:
    entry = SubElement(root, "entry")
    _text(entry, "title", f"{len(slugs)} papers added on {said(day)}")
    _text(entry, "id", identifier(f"days/{day}"))
    _text(entry, "updated", _time(day))
    where = atlas.address(f"news.html#day-{day}")
    SubElement(entry, "link", rel="alternate", type="text/html", href=where)
    parts = []
    for title, those in groups(slugs, atlas.papers):
        items = "".join(f"<li>{_link(slug, atlas)}</li>" for slug in those)
        parts.append(f"<h3>{title} ({len(those)})</h3><ul>{items}</ul>")
    _text(entry, "content", "".join(parts))
    entry[-1].set("type", "html")


def _link(slug: str, atlas: Atlas) -> str:
    where = html.escape(atlas.address(f"papers/{slug}.html"))
    name, title = html.escape(atlas.names[slug]), html.escape(atlas.papers[slug].title)
    return f'<a href="{where}">{name}</a>: {title}'


def _time(day: str) -> str:
    return f"{day}T00:00:00Z"


def _text(parent: Element, name: str, text: str) -> None:
    """Add an element of text without the characters that XML forbids."""
    SubElement(parent, name).text = seen(text).replace("\ufffe", "").replace("\uffff", "")
