"""The formats of answers: JSON, XML and the citation tags of web pages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html.parser import HTMLParser
from typing import TypeVar
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring
from pydantic import BaseModel, ConfigDict, ValidationError

from implementations.harness.errors import BadInput
from implementations.harness.results.reading import parse_json
from tools.sources.web.errors import LATER, Malformed
from tools.sources.web.page import Page

LONGEST = 20_000
"""Characters of the longest text that is read; an abstract has two thousand."""
HEAD = 500_000
"""Characters of a page in which its tags are looked for."""
# Each tag by itself, for Python's parser reads broken pages in the square of their length.
META = re.compile(r"""<meta\s(?:[^<>"']|"[^"]*"|'[^']*')*+>""", re.IGNORECASE)


class Answer(BaseModel):
    """What all parts of an answer share: fields that nobody reads are passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True, str_max_length=LONGEST)


A = TypeVar("A", bound=Answer)


def read_json(page: Page, form: type[A]) -> A:
    """Read JSON of a form; raises `Malformed` for anything else."""
    try:
        return form.model_validate(parse_json(page.text, "it"))
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"])) or "the whole"
        raise malformed(page, f"{where} is not in the documented form") from None
    except BadInput:
        raise malformed(page, "it is not whole JSON") from None


def read_xml(page: Page) -> Element:
    """Read XML; raises `Malformed` for anything else, also where it defines entities."""
    try:
        root: Element = fromstring(page.body, forbid_dtd=True)
    except DefusedXmlException:
        raise Malformed(
            f"the answer of {page.source} for {page.url} defines XML entities, which is an attack "
            f"or a mistake",
            LATER,
        ) from None
    except (ParseError, ValueError, LookupError):
        raise malformed(page, "it is not whole XML") from None
    if any(len(text) > LONGEST for text in root.itertext()):
        raise malformed(page, "it holds a text that is too long")
    return root


def read_tags(page: Page) -> Mapping[str, tuple[str, ...]]:
    """Read the `citation_...` tags of a page by name, without that prefix.

    Raises `Malformed` where there is no title among them.
    """
    parser = _Tags()
    for tag in META.findall(page.text[:HEAD]):
        if len(tag) <= LONGEST:
            parser.feed(tag)
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
