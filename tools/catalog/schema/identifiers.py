"""Identifiers of papers: their forms and pages."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any
from urllib.parse import quote, urlsplit

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from tools.catalog.schema.field_types import TextCheck

SLUG = r"[a-z][a-z0-9]*"
DATE = r"\d{4}(-(0[1-9]|1[0-2])(-(0[1-9]|[12]\d|3[01]))?)?"
DAY = r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"


@dataclass(frozen=True)
class Scheme:
    """One kind of identifier."""

    label: str
    form: str
    example: str
    page: str
    """Template of the page address, with `{}` for the identifier."""


SCHEMES = {
    "arxiv": Scheme(
        "arXiv",
        r"\d{4}\.\d{4,5}|[a-z]+(-[a-z]+)?(\.[A-Z]{2})?/\d{7}",
        "2301.00774",
        "https://arxiv.org/abs/{}",
    ),
    "doi": Scheme(
        "DOI", r"10\.\d{4,9}/[!-;=?-\[\]-z~]+", "10.1609/aaai.v38i10.28960", "https://doi.org/{}"
    ),
    "openreview": Scheme(
        "OpenReview", r"[A-Za-z0-9_-]{6,20}", "PxoFut3dWW", "https://openreview.net/forum?id={}"
    ),
    "anthology": Scheme(
        "ACL Anthology",
        r"\d{4}\.[a-z0-9]+(-[a-z0-9]+)*\.\d+|[A-Z]\d{2}-\d{4}",
        "2024.findings-acl.178",
        "https://aclanthology.org/{}/",
    ),
    "pmlr": Scheme(
        "PMLR",
        r"v\d+/[a-z0-9-]+",
        "v202/frantar23a",
        "https://proceedings.mlr.press/{}.html",
    ),
    "ieee": Scheme(
        "IEEE Xplore", r"\d{5,9}", "10889000", "https://ieeexplore.ieee.org/document/{}"
    ),
}


def page(scheme: str, identifier: str) -> str:
    """Return the address of an identifier's page."""
    return SCHEMES[scheme].page.format(quote(identifier, safe="/.-_~();:"))


def is_acm_handle(doi: str) -> bool:
    """Whether a DOI is an internal handle of ACM, which does not resolve."""
    return doi.startswith("10.5555/")


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.ASCII)


@dataclass(frozen=True)
class Form(TextCheck):
    """Annotation of a text field that must match a pattern."""

    pattern: str
    name: str
    """The name of the form with its article, for messages."""
    example: str

    def json_schema(self) -> dict[str, Any]:
        """Return the pattern."""
        return {"pattern": f"^({self.pattern})$"}

    def fits(self, value: str) -> bool:
        """Whether a text matches the pattern."""
        return bool(_compiled(self.pattern).fullmatch(value))

    def check(self, value: str) -> str:
        """Return a valid value; raises `PydanticCustomError` otherwise."""
        if self.fits(value):
            return value
        raise PydanticCustomError(
            "form",
            "'{value}' is not {name}",
            {"value": value[:60], "name": self.name, "advice": f"write it as {self.example}"},
        )


def check_address(value: str) -> str:
    """Return a valid http or https address; raises `PydanticCustomError` otherwise."""
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    host = parts.hostname or ""
    plain = not re.search(r"[^!-~]|[<>\"'\\^`{|}]", value)
    if parts.scheme not in ("http", "https") or "." not in host or parts.username or port == 0:
        raise PydanticCustomError(
            "address",
            "'{value}' is not an http or https address",
            {"value": value[:60], "advice": "write it as https://example.org/paper"},
        )
    if not plain:
        raise PydanticCustomError(
            "address",
            "'{value}' contains characters that are not allowed in an address",
            {"value": value[:60], "advice": "percent-encode them"},
        )
    return value


Slug = Annotated[str, Form(SLUG, "a slug", "sparsegpt")]
Date = Annotated[str, Form(DATE, "a date", "2023-01-02, 2023-01 or 2023")]
Day = Annotated[str, Form(DAY, "a day", "2026-11-25")]
Address = Annotated[
    str,
    Field(max_length=300, json_schema_extra={"format": "uri", "pattern": "^https?://"}),
    AfterValidator(check_address),
]


def _form(scheme: str, name: str) -> Form:
    return Form(SCHEMES[scheme].form, name, SCHEMES[scheme].example)


Arxiv = Annotated[str, _form("arxiv", "an arXiv identifier")]
# DOIs are case-insensitive.
Doi = Annotated[str, _form("doi", "a DOI"), AfterValidator(str.lower)]
OpenReview = Annotated[str, _form("openreview", "an OpenReview forum id")]
Anthology = Annotated[str, _form("anthology", "an ACL Anthology identifier")]
Pmlr = Annotated[str, _form("pmlr", "a PMLR identifier")]
Ieee = Annotated[str, _form("ieee", "an IEEE Xplore document number")]
