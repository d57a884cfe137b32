"""Checks of a method's README, which may contain only plain Markdown."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from markdown import markdown

from implementations.harness.errors import BadInput

MAX_BYTES = 50_000
"""Largest size of a README."""
EXTENSIONS = (
    "attr_list",
    "tables",
    "pymdownx.arithmatex",
    "pymdownx.highlight",
    "pymdownx.superfences",
)
"""The extensions of `mkdocs.yml` that affect attributes."""
ATTRIBUTES = {"alt", "class", "data-search-exclude", "href", "id", "start", "style", "title"}
ADDRESS = re.compile(r"(https?://|mailto:|[\w./-]*(#|$))")
TAG = re.compile(r"<(?=[a-zA-Z/!?])")


def plain_markdown(text: str, path: str) -> str:
    """Return Markdown without HTML: a space is added after each `<` that would open a tag.

    Raises `BadInput` for attributes and addresses that are not on the list of safe ones.
    """
    text = TAG.sub("< ", text)
    checker = _Checker()
    checker.feed(
        markdown(
            text,
            extensions=EXTENSIONS,
            extension_configs={"pymdownx.arithmatex": {"generic": True}},
        )
    )
    if checker.refused:
        raise BadInput(f"{path}: {checker.refused} is not allowed; use plain Markdown")
    return text


class _Checker(HTMLParser):
    """Parser of the HTML that Markdown produces; keeps the last attribute that is not allowed."""

    refused = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            safe = name != "href" or ADDRESS.match(value or "")
            if (
                name not in ATTRIBUTES
                or not safe
                or (name == "id" and (value or "").startswith("_"))
            ):
                self.refused = f"<{tag} {name}='{value}'>"
