"""arXiv: title, authors, abstract and the day of the first version."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import quote, urlencode
from xml.etree.ElementTree import Element

from tools.sources.lookup.identification import Reference, Unidentified, identify
from tools.sources.lookup.normalization import named
from tools.sources.names.text import day, plain, repositories, tidy
from tools.sources.services.facts import Facts
from tools.sources.services.formats import malformed, read_xml
from tools.sources.web.client import Client
from tools.sources.web.errors import CHECK, LATER, AnotherPaper, Denied, NotFound
from tools.sources.web.hosts import Site
from tools.sources.web.page import ATOM, Page

SITE = Site("arXiv", "export.arxiv.org", pause=3.0, also=frozenset({"arxiv.org"}))
SPACES = {"a": "http://www.w3.org/2005/Atom", "x": "http://arxiv.org/schemas/atom"}


def fetch(reference: Reference, client: Client) -> Facts:
    """Return what arXiv has under an identifier; raises `SourceError`."""

    def parse(page: Page) -> Facts:
        entries = _entries(page)
        if not entries:
            raise NotFound(f"arXiv has no paper {reference.value}", CHECK)
        facts, version = _facts(page, entries[0])
        if facts.ids["arxiv"] != reference.value:
            raise AnotherPaper(
                f"arXiv was asked for {reference.value} and answered about {facts.ids['arxiv']}",
                LATER,
            )
        facts = tidy(facts)
        if version is None or reference.version in (None, version):
            return facts
        taken = f"its facts were taken, not version {reference.version}'s"
        return replace(facts, notes=(*facts.notes, f"arXiv's newest version is {version}; {taken}"))

    path = f"/api/query?id_list={quote(reference.value, safe='/')}&max_results=1"
    # A malformed id is answered with HTTP 400, or 200 in older documents, and an entry of errors.
    return client.read(SITE, path, ATOM, parse, statuses=(200, 400))


def search(title: str, client: Client) -> list[Facts]:
    """Return the papers whose titles hold the words of a title; raises `SourceError`."""
    words = " ".join("".join(c if c.isalnum() else " " for c in title).split())
    query = urlencode({"search_query": f'ti:"{words}"', "max_results": 5})
    return client.read(
        SITE,
        f"/api/query?{query}",
        ATOM,
        lambda page: [tidy(_facts(page, entry)[0]) for entry in _entries(page)],
        statuses=(200, 400),
    )


def _entries(page: Page) -> list[Element]:
    entries = read_xml(page).findall("a:entry", SPACES)
    for entry in entries:
        if "/api/errors" in _text(entry, "a:id"):
            said = plain(_text(entry, "a:summary"))[:120] or "no reason given"
            raise Denied(f"arXiv rejects the request ({said})", CHECK)
    if page.status != 200:
        raise Denied(f"arXiv rejects the request (HTTP {page.status})", CHECK)
    return entries


def _facts(page: Page, entry: Element) -> tuple[Facts, int | None]:
    """Return what an entry says, and the number of its version."""
    try:
        found = identify(_text(entry, "a:id"))
    except Unidentified:
        raise malformed(page, "its entry has no arXiv identifier") from None
    title = _text(entry, "a:title")
    submitted = day(*_text(entry, "a:published")[:10].split("-"))
    if found.scheme != "arxiv" or not title or not submitted:
        raise malformed(page, "its entry lacks identifier, title or date")
    summary = _text(entry, "a:summary")
    names = (_text(author, "a:name") for author in entry.findall("a:author", SPACES))
    facts = Facts(
        source="arXiv",
        title=title,
        authors=tuple(filter(None, names)),
        abstract=summary or None,
        submitted=submitted,
        year=int(submitted[:4]),
        # The authors' own hint; `resolve` asks Crossref before it believes it.
        ids={**named(_text(entry, "x:doi")).ids, "arxiv": found.value},
        code=repositories(summary, _text(entry, "x:comment")),
    )
    return facts, found.version


def _text(element: Element, path: str) -> str:
    return " ".join((element.findtext(path, "", SPACES) or "").split())
