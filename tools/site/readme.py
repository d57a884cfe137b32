"""The README of a method on its page: plain Markdown, which can be read and do nothing else."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from markdown import markdown

from implementations.harness.errors import BadInput

LARGEST = 50_000
"""Bytes of the longest README that is read."""
EXTENSIONS = (
    "attr_list",
    "tables",
    "pymdownx.arithmatex",
    "pymdownx.highlight",
    "pymdownx.superfences",
)
"""Those of `mkdocs.yml` that decide which attributes there are."""
ATTRIBUTES = {"alt", "class", "data-search-exclude", "href", "id", "start", "style", "title"}
ADDRESS = re.compile(r"(https?://|mailto:|[\w./-]*(#|$))")
TAG = re.compile(r"<(?=[a-zA-Z/!?])")


def plain_markdown(text: str, path: str) -> str:
    """Return Markdown in which nothing is HTML: behind a `<` that would open a tag stands a space.

    Raises `BadInput` for attributes and addresses that could do something.
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
    """Reads the HTML that Markdown makes and remembers what a README may not have."""

    refused = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            address = name != "href" or ADDRESS.match(value or "")
            if (
                name not in ATTRIBUTES
                or not address
                or (name == "id" and (value or "").startswith("_"))
            ):
                self.refused = f"<{tag} {name}='{value}'>"
