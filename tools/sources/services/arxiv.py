"""arXiv: title, authors, abstract and the date of the first version."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, quote, unquote, urlencode, urlsplit
from xml.etree.ElementTree import Element

from tools.sources.client import Page, Site
from tools.sources.errors import CHECK, NotFound
from tools.sources.names.references import Reference, Unidentified
from tools.sources.names.text import day, plain, repositories
from tools.sources.services.facts import Facts
from tools.sources.services.formats import malformed, read_xml
from tools.sources.services.service import Service

FORM = (
    r"(?P<id>\d{2}(?:0[1-9]|1[0-2])\.\d{4,5}|[a-z]+(?:-[a-z]+)?(?:\.[A-Z]{2})?/\d{7})"
    r"(?:v[1-9]\d{0,3})?"
)
SPACES = {
    "a": "http://www.w3.org/2005/Atom",
    "o": "http://a9.com/-/spec/opensearch/1.1/",
    "x": "http://arxiv.org/schemas/atom",
}


class Arxiv(Service):
    """Looked up by identifier and searched by title; answers in Atom."""

    sites = (Site("arXiv", "export.arxiv.org", pause=3.0),)
    schemes = ("arxiv",)
    hosts = r"([a-z0-9-]+\.)*arxiv\.org"
    finds = ("titles", "preprints")

    def from_text(self, text: str) -> Reference | None:
        """Parse an identifier, or DataCite's DOI of a preprint, which Crossref does not know."""
        # A PDF shows the id with its category: arXiv:2301.00774v3 [cs.LG] 22 Mar 2023.
        prefixed = re.match(rf"arxiv\s*:\s*{FORM}(?:\.pdf)?(?![\d.])", text, re.IGNORECASE)
        bare = re.fullmatch(rf"{FORM}(?:\.pdf)?[.,;]?", text)
        found = prefixed or bare or re.fullmatch(rf"10\.48550/arxiv\.{FORM}", text, re.IGNORECASE)
        return _reference(found) if found else None

    def from_page(self, url: SplitResult) -> Reference | None:
        """Parse the address of an abstract, PDF or HTML page."""
        found = re.fullmatch(rf"/[a-z-]+/{FORM}(?:\.pdf)?/?", unquote(url.path))
        return _reference(found) if found else None

    def path(self, reference: Reference) -> str:
        """Request the newest version of one paper."""
        return f"/api/query?id_list={quote(reference.value, safe='/')}&max_results=1"

    def read(self, page: Page, reference: Reference) -> Facts:
        """Parse the entry."""
        entries = _entries(page)
        if not entries:
            raise NotFound(f"arXiv has no paper {reference.value}", CHECK)
        return self._facts(page, entries[0])

    def query(self, title: str) -> str:
        """Search for the words of a title, without characters that arXiv reads as operators."""
        words = " ".join("".join(c if c.isalnum() else " " for c in title).split())
        query = {"search_query": f'ti:"{words}"', "max_results": 5}
        return f"/api/query?{urlencode(query)}"

    def newest(self, query: str, start: int, count: int) -> str:
        """Return the path of a part of the papers that match a query, newest first."""
        order = {"sortBy": "submittedDate", "sortOrder": "descending"}
        part = {"search_query": query, **order, "start": start, "max_results": count}
        return f"/api/query?{urlencode(part)}"

    def total(self, page: Page) -> int:
        """Parse the number of papers that match, of which the answer has a part."""
        written = read_xml(page).findtext("o:totalResults", "", SPACES)
        if not written.isdecimal():
            raise malformed(page, "it does not have the number of results")
        return int(written)

    def found(self, page: Page) -> list[Facts]:
        """Parse all entries."""
        return [self._facts(page, entry) for entry in _entries(page)]

    def _facts(self, page: Page, entry: Element) -> Facts:
        try:
            paper = self.from_page(urlsplit(_text(entry, "a:id")))
        except (ValueError, Unidentified):
            paper = None
        if paper is None:
            raise malformed(page, "its entry has no arXiv identifier")
        title, summary = _text(entry, "a:title"), _text(entry, "a:summary")
        comment = _text(entry, "x:comment")
        submitted = day(*_text(entry, "a:published")[:10].split("-"))
        if not title or not submitted:
            raise malformed(page, "its entry lacks identifier, title or date")
        names = (_text(author, "a:name") for author in entry.findall("a:author", SPACES))
        return Facts(
            source=self.name,
            title=title,
            authors=tuple(filter(None, names)),
            abstract=summary or None,
            submitted=submitted,
            year=int(submitted[:4]),
            ids={"arxiv": paper.value},
            # Entered by the authors; `resolve` verifies it with Crossref.
            mentions=(_text(entry, "x:doi"),),
            code=repositories(summary, comment),
            comment=comment or None,
        )


def _reference(found: re.Match[str]) -> Reference:
    # arXiv answers a request for math.GT/0309136 with math/0309136.
    value = re.sub(r"\.[A-Za-z]{2}/", "/", found["id"])
    if re.fullmatch(r"\d{4}\.\d{4}", value) and value >= "1501":
        raise Unidentified(
            f"'{value}' is one digit too short: arXiv ids since 2015 have five digits after the "
            "point; copy the id from the abstract page"
        )
    return Reference("arxiv", value)


def _entries(page: Page) -> list[Element]:
    entries = read_xml(page).findall("a:entry", SPACES)
    for entry in entries:
        if "/api/errors" in _text(entry, "a:id"):
            said = plain(_text(entry, "a:summary"))[:120] or "no reason given"
            raise NotFound(f"arXiv rejects the request ({said})", CHECK)
    return entries


def _text(element: Element, path: str) -> str:
    return " ".join((element.findtext(path, "", SPACES) or "").split())
