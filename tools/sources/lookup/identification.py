"""Identification of a paper from an identifier, a page address or a title, without network."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from tools.catalog.schema.identifiers import is_acm_handle
from tools.sources.names.references import TITLE, Reference, Unidentified
from tools.sources.services.registry import SERVICES

DOI = r"10\.\d{4,9}/[!-;=?-~]+"
PASTE = (
    "paste the paper's arXiv id, DOI, OpenReview forum, ACL Anthology id or proceedings page, "
    "or its title in quotes"
)


def identify(text: str) -> Reference:
    """Return the reference in a text; raises `Unidentified` if there is none."""
    plain = text.strip().strip("<>\"'“”‘’ ").strip()
    if re.match(r"[a-z][a-z0-9+.-]*://", plain, re.IGNORECASE):
        return _address(plain)
    if re.match(r"[a-z0-9-]+(\.[a-z0-9-]+)*\.(org|net|cc|press|com|edu)/", plain):
        return _address(f"https://{plain}")
    if found := re.fullmatch(rf"(?:doi\s*:?\s*)?({DOI})", plain, re.IGNORECASE):
        return _doi(found[1])
    return _own(plain) or _title(plain)


def _own(text: str) -> Reference | None:
    """Parse a text as an identifier of any source."""
    return next(filter(None, (service.from_text(text) for service in SERVICES)), None)


def _doi(written: str) -> Reference:
    value = _without_tail(written).lower()
    if is_acm_handle(value):
        raise Unidentified(
            f"{value} is an internal handle of the ACM Digital Library, not a DOI; "
            "paste the paper's arXiv, OpenReview or proceedings address instead"
        )
    return _own(value) or Reference("doi", value)


def _without_tail(doi: str) -> str:
    """Remove trailing punctuation, and the suffixes that publishers append to a DOI."""
    doi = re.sub(r"(/(full|pdf|epdf|abstract|abs|meta|html)|\.pdf|\.html?)$", "", doi)
    while doi and (doi[-1] in ".,;:'\"!/" or (doi[-1] in ")]}" and not _closes(doi))):
        doi = doi[:-1]
    return doi


def _closes(text: str) -> bool:
    opening = {")": "(", "]": "[", "}": "{"}[text[-1]]
    return text.count(opening) >= text.count(text[-1])


def _title(text: str) -> Reference:
    words = text.split()
    if len(words) < 2 or len(re.findall(r"[^\W\d_]{2,}", text)) < 2:
        raise Unidentified(f"'{text[:80]}' does not identify a paper; {PASTE}")
    if len(text) > 300:
        raise Unidentified(f"a text of {len(text)} characters is too long for a title; {PASTE}")
    return Reference(TITLE, " ".join(words))


def _address(text: str) -> Reference:
    try:
        url = urlsplit(text)
        host = (url.hostname or "").lower().removeprefix("www.")
    except ValueError:
        raise Unidentified(f"'{text[:80]}' is not an address; {PASTE}") from None
    if url.scheme.lower() not in ("http", "https"):
        raise Unidentified(f"'{text[:80]}' is not an http or https address; {PASTE}")
    here = [service for service in SERVICES if re.fullmatch(service.hosts, host)]
    for service in here:
        if found := service.from_page(url):
            return found
    for written in _dois(url):
        return _doi(written)
    hints = [service.hint for service in here if service.hint]
    advice = hints[0] if hints else _advice(host, url.path)
    raise Unidentified(f"{text[:120]} contains no identifier; {advice}")


def _dois(url: SplitResult) -> Iterator[str]:
    # Some platforms append an article number: .../article/doi/10.1162/tacl_a_00704/125482
    path = re.sub(r"(/article[a-z-]*/doi/10\..+?)/\d+(/[^/]*)?$", r"\1", unquote(url.path))
    for part in (path, *(value for values in parse_qs(url.query).values() for value in values)):
        if found := re.search(rf"(?<!\d){DOI}", part):
            yield found[0]


def _advice(host: str, path: str) -> str:
    if host == "ieeexplore.ieee.org":
        return "paste the DOI shown on that page (10.1109/...)"
    if "/article/" in path:
        return "paste the DOI shown on that page"
    if host in ("github.com", "gitlab.com"):
        return "a repository does not identify a paper; " + PASTE
    return PASTE
