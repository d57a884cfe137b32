"""The formats of answers: JSON, XML and the citation tags of web pages."""

from __future__ import annotations

from collections.abc import Mapping
from html.parser import HTMLParser
from typing import TypeVar
from xml.etree.ElementTree import Element, ParseError

from defusedxml.ElementTree import fromstring
from pydantic import BaseModel, ConfigDict, ValidationError

from tools.sources.web.errors import LATER, Malformed
from tools.sources.web.page import Page


class Answer(BaseModel):
    """What all parts of an answer share: fields that nobody reads are passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True)


A = TypeVar("A", bound=Answer)


def read_json(page: Page, form: type[A]) -> A:
    """Read JSON of a form; raises `Malformed` for anything else."""
    try:
        return form.model_validate_json(page.text)
    except ValidationError as error:
        (first, *_) = error.errors()
        if first["type"] == "json_invalid":
            raise malformed(page, "it is not valid JSON") from None
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise malformed(page, f"{where} is not in the documented form") from None


def read_xml(page: Page) -> Element:
    """Read XML; raises `Malformed` for anything else, also where it defines entities."""
    try:
        root: Element = fromstring(page.body, forbid_dtd=True)
    except (ParseError, ValueError):  # defusedxml refuses entities with a ValueError
        raise malformed(page, "it is not valid XML") from None
    return root


def read_tags(page: Page) -> Mapping[str, tuple[str, ...]]:
    """Read the `citation_...` tags of a page by name, without that prefix.

    Raises `Malformed` where there is no title among them.
    """
    parser = _Tags()
    parser.feed(page.text)
    if not parser.found.get("title"):
        raise malformed(page, "it has no citation tags")
    return {name: tuple(values) for name, values in parser.found.items()}


def malformed(page: Page, what: str) -> Malformed:
    """Make the error of an answer that cannot be read."""
    return Malformed(
        f"the answer of {page.source} for {page.url[:150]} cannot be read, {what}", LATER
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
