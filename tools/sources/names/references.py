"""A paper as somebody names it, or a text that names none."""

from __future__ import annotations

from dataclasses import dataclass

from tools.catalog.schema.identifiers import SCHEMES

TITLE = "title"
LABELS = {TITLE: "the title", **{name: scheme.label for name, scheme in SCHEMES.items()}}


@dataclass(frozen=True)
class Reference:
    """A paper as somebody names it: the scheme, and its canonical value there."""

    scheme: str
    """Of the catalog's identifiers; of a site whose pages alone name its papers; or `title`."""
    value: str
    version: int | None = None
    """Only of arXiv, where one was named."""

    def __str__(self) -> str:
        return f"{LABELS.get(self.scheme, self.scheme)} {self.value}"


class Unidentified(Exception):
    """A text that names no paper; the message says what to paste instead."""
