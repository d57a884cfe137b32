"""What the small things in an answer name: identifiers, pages, venues."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypedDict
from urllib.parse import quote

from tools.sources.lookup.identification import Reference, Unidentified, identify
from tools.sources.names.venues import place

ANTHOLOGY_DOI = "10.18653/v1/"


@dataclass
class Named:
    """Identifiers and links, as `Facts` hold them."""

    ids: dict[str, str] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)


def named(*texts: str | None) -> Named:
    """Sort identifiers and addresses; the first of a kind counts, ACM's placeholders do not."""
    found = Named()
    for text in filter(None, texts):
        with contextlib.suppress(Unidentified):
            _add(found, identify(text))
    return found


def _add(found: Named, reference: Reference) -> None:
    if reference.scheme in ("neurips", "cvf"):
        found.links.setdefault("venue", page(reference))
    elif reference.scheme != "title":
        found.ids.setdefault(reference.scheme, reference.value)
        if reference.value.startswith(ANTHOLOGY_DOI):
            # 10.18653/v1/p19-1001 and 10.18653/v1/2024.acl-long.1 end in their Anthology id.
            end = reference.value.removeprefix(ANTHOLOGY_DOI)
            _add(found, identify(end.upper() if end[:1].isalpha() else end))


def page(reference: Reference) -> str:
    """Return the address of a page of NeurIPS or CVF."""
    path = quote(reference.value)
    if reference.scheme == "neurips":
        return f"https://proceedings.neurips.cc/paper_files/paper/{path}"
    return f"https://openaccess.thecvf.com/{path}"


class Venue(TypedDict):
    """The fields of `Facts` that the names of a venue give."""

    venue: str | None
    track: str | None
    notes: tuple[str, ...]


def venue(source: str, names: Iterable[str]) -> Venue:
    """Return what the names a source gives to one venue mean; an unknown one is a note."""
    written = [name for name in names if name]
    for name in written:
        if found := place(name):
            return Venue(venue=found.venue, track=found.track, notes=())
    notes = [
        f"{source} names the venue '{name[:150]}', for which vocabulary/venues.yaml has no word"
        for name in written[:1]
    ]
    return Venue(venue=None, track=None, notes=tuple(notes))
