"""Parsers of answers: JSON, XML and the citation tags of web pages."""

from __future__ import annotations

from collections.abc import Mapping
from html.parser import HTMLParser
from typing import TypeVar
from xml.etree.ElementTree import Element, ParseError

from defusedxml.ElementTree import fromstring
from pydantic import BaseModel, ConfigDict, ValidationError

from tools.sources.client import Page
from tools.sources.errors import LATER, Malformed


class Answer(BaseModel):
    """Base class of the parts of a JSON answer; unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


A = TypeVar("A", bound=Answer)


def read_json(page: Page, form: type[A]) -> A:
    """Parse JSON of a given form; raises `Malformed`."""
    try:
        return form.model_validate_json(page.text)
    except ValidationError as error:
        (first, *_) = error.errors()
        if first["type"] == "json_invalid":
            raise malformed(page, "it is not valid JSON") from None
        where = ".".join(map(str, first["loc"])) or "it"
        raise malformed(page, f"{where} does not have the documented form") from None


def read_xml(page: Page) -> Element:
    """Parse XML; raises `Malformed`, also if it defines entities."""
    try:
        root: Element = fromstring(page.text, forbid_dtd=True)
    except (ParseError, ValueError):  # defusedxml refuses entities with a ValueError
        raise malformed(page, "it is not valid XML") from None
    return root


def read_tags(page: Page) -> Mapping[str, tuple[str, ...]]:
    """Return the `citation_...` tags of a page by name, without the prefix.

    Raises `Malformed` if there is no title.
    """
    parser = _Tags()
    parser.feed(page.text)
    if not parser.found.get("title"):
        raise malformed(page, "it has no citation tags")
    return {name: tuple(values) for name, values in parser.found.items()}


def malformed(page: Page, reason: str) -> Malformed:
    """Return the error of an answer that cannot be read."""
    return Malformed(
        f"the answer of {page.source} for {page.url[:150]} cannot be read: {reason}", LATER
    )


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, list[str]] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        name, content = values.get("name") or "", values.get("content")
        if tag == "meta" and name.startswith("citation_") and content:
            self.found.setdefault(name.removeprefix("citation_"), []).append(content)
