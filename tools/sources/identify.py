"""What a text names: an identifier, a page that holds one, or a title. Pure; no network."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from tools.catalog.schema.identifiers import SCHEMES, placeholder

Scheme = Literal["arxiv", "doi", "openreview", "anthology", "pmlr", "neurips", "cvf", "title"]

ARXIV = (
    r"(?P<id>\d{2}(?:0[1-9]|1[0-2])\.\d{4,5}|[a-z]+(?:-[a-z]+)?(?:\.[A-Z]{2})?/\d{7})"
    r"(?:v(?P<version>[1-9]\d*))?"
)
ANTHOLOGY = SCHEMES["anthology"].form
DOI = r"10\.\d{4,9}/[!-;=?-~]+"
PASTE = (
    "paste the paper's arXiv id, DOI, OpenReview forum, ACL Anthology id or proceedings page, "
    "or its title in quotes"
)


@dataclass(frozen=True)
class Reference:
    """A paper as somebody names it: the scheme, and its canonical value there."""

    scheme: Scheme
    value: str
    """Of `neurips` and `cvf` the path of the page; of `title` the words."""
    version: int | None = None
    """Only of arXiv, where one was named."""

    def __str__(self) -> str:
        others = {"neurips": "NeurIPS", "cvf": "CVF", "title": "the title"}
        return f"{others.get(self.scheme) or SCHEMES[self.scheme].label} {self.value}"


class Unidentified(Exception):
    """A text that names no paper; the message says what to paste instead."""


def identify(text: str) -> Reference:
    """Return what a text names; raises `Unidentified` where nothing in it names a paper."""
    plain = text.strip().strip("<>\"'“”‘’ ").strip()
    if re.match(r"[a-z][a-z0-9+.-]*://", plain, re.IGNORECASE):
        return _address(plain)
    if re.match(r"[a-z0-9-]+(\.[a-z0-9-]+)*\.(org|net|cc|press|com|edu)/", plain):
        return _address(f"https://{plain}")
    found = _arxiv_text(plain) or _doi_text(plain) or _anthology_text(plain)
    return found or _title(plain)


def _arxiv(found: re.Match[str]) -> Reference:
    # math.GT/0309136 is the same paper as math/0309136, which is what arXiv answers with.
    value = re.sub(r"\.[A-Za-z]{2}/", "/", found["id"])
    if re.fullmatch(r"\d{4}\.\d{4}", value) and value >= "1501":
        raise Unidentified(
            f"'{value}' lacks a digit: arXiv ids since 2015 have five after the point; "
            "copy the whole id from the abstract page"
        )
    return Reference("arxiv", value, int(found["version"]) if found["version"] else None)


def _arxiv_text(text: str) -> Reference | None:
    # On PDFs the id is followed by its category: arXiv:2301.00774v3 [cs.LG] 22 Mar 2023.
    prefixed = re.match(rf"arxiv\s*:\s*{ARXIV}(?:\.pdf)?(?![\d.])", text, re.IGNORECASE)
    found = prefixed or re.fullmatch(rf"{ARXIV}(?:\.pdf)?[.,;]?", text)
    return _arxiv(found) if found else None


def _doi_text(text: str) -> Reference | None:
    found = re.fullmatch(rf"(?:doi\s*:?\s*)?({DOI})", text, re.IGNORECASE)
    return _doi(found[1]) if found else None


def _doi(written: str) -> Reference:
    value = _without_tail(written).lower()
    if placeholder(value):
        raise Unidentified(
            f"{value} is an internal handle of the ACM Digital Library and no DOI; "
            "paste the paper's arXiv, OpenReview or proceedings address instead"
        )
    # DataCite's DOI of a preprint, unknown to Crossref, carries the arXiv id.
    if found := re.fullmatch(rf"10\.48550/arxiv\.{ARXIV}", value, re.IGNORECASE):
        return _arxiv(found)
    return Reference("doi", value)


def _without_tail(doi: str) -> str:
    """Cut punctuation of a sentence and what publishers' addresses append to a DOI."""
    doi = re.sub(r"(/(full|pdf|epdf|abstract|abs|meta|html)|\.pdf|\.html?)$", "", doi)
    while doi and (doi[-1] in ".,;:'\"!/" or (doi[-1] in ")]}" and not _closes(doi))):
        doi = doi[:-1]
    return doi


def _closes(text: str) -> bool:
    opening = {")": "(", "]": "[", "}": "{"}[text[-1]]
    return text.count(opening) >= text.count(text[-1])


def _anthology_text(text: str) -> Reference | None:
    found = re.fullmatch(rf"({ANTHOLOGY})(v\d+)?(\.(pdf|bib|xml|endf))?", text)
    return Reference("anthology", found[1]) if found else None


def _title(text: str) -> Reference:
    words = text.split()
    if len(words) < 2 or len(re.findall(r"[^\W\d_]{2,}", text)) < 2:
        raise Unidentified(f"'{text[:80]}' names no paper; {PASTE}")
    if len(text) > 300:
        raise Unidentified(f"a text of {len(text)} characters is no title; {PASTE}")
    return Reference("title", " ".join(words))


def _address(text: str) -> Reference:
    try:
        url = urlsplit(text)
        host = (url.hostname or "").lower().removeprefix("www.")
    except ValueError:
        raise Unidentified(f"'{text[:80]}' is not an address; {PASTE}") from None
    if url.scheme.lower() not in ("http", "https"):
        raise Unidentified(f"'{text[:80]}' is not an http or https address; {PASTE}")
    for hosts, read in PAGES.items():
        if re.fullmatch(hosts, host) and (found := read(url)):
            return found
    for written in _dois(url):
        return _doi(written)
    raise Unidentified(f"{text[:120]} holds no identifier: {_advice(host, url.path)}")


def _dois(url: SplitResult) -> Iterator[str]:
    # Platforms append their own article number: .../article/doi/10.1162/tacl_a_00704/125482
    path = re.sub(r"(/article[a-z-]*/doi/10\..+?)/\d+(/[^/]*)?$", r"\1", unquote(url.path))
    for part in (path, *(value for values in parse_qs(url.query).values() for value in values)):
        if found := re.search(rf"(?<!\d){DOI}", part):
            yield found[0]


def _arxiv_page(url: SplitResult) -> Reference | None:
    found = re.fullmatch(rf"/[a-z-]+/{ARXIV}(?:\.pdf)?/?", unquote(url.path))
    return _arxiv(found) if found else None


def _openreview_page(url: SplitResult) -> Reference | None:
    for value in parse_qs(url.query).get("id", []):
        if re.fullmatch(SCHEMES["openreview"].form, value.strip()):
            return Reference("openreview", value.strip())
    return None


def _anthology_page(url: SplitResult) -> Reference | None:
    name = unquote(url.path).strip("/").rpartition("/")[2]
    return _anthology_text(name)


def _pmlr_page(url: SplitResult) -> Reference | None:
    # Volumes since 2024 keep their PDFs in the repository of the volume.
    pattern = r"(?:/mlresearch)?/(v\d+)/(?:main/assets/)?([a-z0-9-]+)(?:/\2)?(?:\.html|\.pdf|/)?"
    found = re.fullmatch(pattern, unquote(url.path))
    return Reference("pmlr", f"{found[1]}/{found[2]}") if found else None


def _neurips_page(url: SplitResult) -> Reference | None:
    pattern = r"/paper(?:_files/paper)?/(\d{4})/(?:hash|file)/([0-9a-f]{32})-(?:\w+?)(-\w+)?\.\w+"
    found = re.fullmatch(pattern, unquote(url.path))
    if not found:
        return None
    year, key, track = found[1], found[2], found[3] or ""
    return Reference("neurips", f"{year}/hash/{key}-Abstract{track}.html")


def _cvf_page(url: SplitResult) -> Reference | None:
    pattern = r"/(content[\w/]*?)/(?:html|papers)/([\w.'-]+?)\.(?:html|pdf)"
    found = re.fullmatch(pattern, unquote(url.path))
    return Reference("cvf", f"{found[1]}/html/{found[2]}.html") if found else None


PAGES: dict[str, Callable[[SplitResult], Reference | None]] = {
    r"([a-z0-9-]+\.)*arxiv\.org": _arxiv_page,
    r"openreview\.net": _openreview_page,
    r"aclanthology\.org|aclweb\.org": _anthology_page,
    r"proceedings\.mlr\.press|raw\.githubusercontent\.com": _pmlr_page,
    r"papers\.nips\.cc|proceedings\.neurips\.cc|papers\.neurips\.cc": _neurips_page,
    r"openaccess\.thecvf\.com": _cvf_page,
}
"""Readers of pages by a pattern of their host, `www.` removed."""


def _advice(host: str, path: str) -> str:
    if host == "ieeexplore.ieee.org":
        return "paste the DOI that IEEE shows on that page (10.1109/...)"
    if "/article/" in path:
        return "paste the DOI that the journal shows on that page"
    if host == "openreview.net":
        return "paste the address of the forum (https://openreview.net/forum?id=...)"
    if host in ("github.com", "gitlab.com"):
        return "it is a repository; " + PASTE
    return PASTE
