"""The best page and repository of a paper."""

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
"""Fields with a page of the paper, those of the publisher first."""


def pages(paper: Paper) -> list[tuple[str, str]]:
    """Return field and address of each page of a paper, best first and unverified ones last."""
    found = {f"ids.{scheme}": page(scheme, value) for scheme, value in paper.ids}
    found |= {
        f"links.{name}": address
        for name in ("venue", "paper")
        if (address := getattr(paper.links, name))
    }
    ranked = [name for name in BEST if name in found]
    return [(name, found[name]) for name in sorted(ranked, key=lambda n: unverified(paper, n))]


def best_page(paper: Paper) -> str:
    """Return the address of the best page of a paper, or an empty text."""
    return next((address for _, address in pages(paper)), "")


def best_code(paper: Paper) -> Code | None:
    """Return the best repository with code of a paper, preferably the authors' own."""
    available = (code for code in paper.code or () if not (code.withdrawn or code.no_code))
    return min(available, key=lambda code: not code.official, default=None)


def unverified(paper: Paper, field: str) -> bool:
    """Whether a field, or a field that contains it, is unverified."""
    parts = field.split(".")
    around = {".".join(parts[:n]) for n in range(1, len(parts) + 1)}
    return bool(around & set(paper.sources.unverified or ()))
