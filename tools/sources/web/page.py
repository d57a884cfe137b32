"""An HTTP answer, and the formats of answers."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tools.sources.web.errors import LATER, Malformed


@dataclass(frozen=True)
class Kind:
    """A format: the value of the `Accept` header and the matching content types."""

    name: str
    accept: str
    pattern: str

    def fits(self, media: str) -> bool:
        """Whether a content type without parameters matches."""
        return bool(re.fullmatch(self.pattern, media))


JSON = Kind("JSON", "application/json", r"application/([\w.-]+\+)?json")
ATOM = Kind("XML", "application/atom+xml", r"(application|text)/([\w.-]+\+)?xml")
HTML = Kind("a web page", "text/html", r"text/html|application/xhtml\+xml")
BIBTEX = Kind(
    "BibTeX",
    "application/x-bibtex, text/plain",
    r"text/(?!html)[\w.-]+|application/(x-bibtex|octet-stream)",
)


@dataclass(frozen=True)
class Page:
    """The body of an answer and its metadata."""

    source: str
    """Name of the source."""
    url: str
    status: int
    content_type: str
    body: bytes

    @property
    def text(self) -> str:
        """The decoded body; raises `Malformed` if it does not have its declared encoding."""
        named = re.search(r"charset=\"?([\w.:-]+)", self.content_type, re.IGNORECASE)
        encoding = named[1] if named else "utf-8"
        try:
            return self.body.decode(encoding)
        except (UnicodeError, LookupError):
            raise Malformed(
                f"the answer of {self.source} for {self.url} is not text in {encoding}", LATER
            ) from None
