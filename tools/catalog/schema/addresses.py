"""Which of a paper's pages and repositories to send a reader to."""

from __future__ import annotations

from tools.catalog.schema.identifiers import page
from tools.catalog.schema.paper import Code, Paper

BEST = (
    "ids.anthology",
    "ids.pmlr",
    "links.venue",
    "ids.doi",
    "ids.ieee",
    "ids.openreview",
    "ids.arxiv",
    "links.paper",
)
"""Fields that lead to a page of the paper, the publisher's own first."""


def pages(paper: Paper) -> list[tuple[str, str]]:
    """Return field and address of each page of a paper, the best first.

    An address that nobody could check comes after all that somebody did.
    """
    found = {f"ids.{scheme}": page(scheme, value) for scheme, value in paper.ids}
    found |= {
        f"links.{name}": address
        for name in ("venue", "paper")
        if (address := getattr(paper.links, name))
    }
    ranked = [name for name in BEST if name in found]
    return [(name, found[name]) for name in sorted(ranked, key=lambda n: unverified(paper, n))]


def best_page(paper: Paper) -> str:
    """Return the address of a paper's best page, empty if none is known."""
    return next((address for _, address in pages(paper)), "")


def best_code(paper: Paper) -> Code | None:
    """Return the repository to send a reader to: the authors' own before another, none gone."""
    there = (code for code in paper.code or () if not code.withdrawn)
    return min(there, key=lambda code: not code.official, default=None)


def unverified(paper: Paper, field: str) -> bool:
    """Whether a field, or a part of the entry around it, could not be checked."""
    parts = field.split(".")
    around = {".".join(parts[:n]) for n in range(1, len(parts) + 1)}
    return bool(around & set(paper.sources.unverified or ()))
