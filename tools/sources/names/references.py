"""References to papers."""

from __future__ import annotations

from dataclasses import dataclass

from tools.catalog.schema.identifiers import SCHEMES

TITLE = "title"
LABELS = {TITLE: "the title", **{name: scheme.label for name, scheme in SCHEMES.items()}}


@dataclass(frozen=True)
class Reference:
    """A paper, given by a scheme and the canonical value in it."""

    scheme: str
    """An identifier of the catalog, a site of proceedings, or `title`."""
    value: str

    def __str__(self) -> str:
        return f"{LABELS.get(self.scheme, self.scheme)} {self.value}"


class Unidentified(Exception):
    """A text without a reference to a paper; the message says what to paste instead."""
