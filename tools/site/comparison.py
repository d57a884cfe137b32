"""Facts about every method of the catalog, for the comparison on the leaderboard."""

from __future__ import annotations

from typing import Any

from tools.catalog.schema.addresses import best_code
from tools.catalog.schema.paper import Paper
from tools.catalog.schema.vocabulary import vocabulary
from tools.site.atlas import Atlas, Method
from tools.site.formatting import venue
from tools.site.paper_facts import FACETS, code, words_of
from tools.site.render import printable, safe_address

FIELDS = ("granularity", "prunes", "criterion", "calibration", "recovery", "allocation", "when")
"""Fields of the taxonomy that are compared."""


def facts(atlas: Atlas) -> dict[str, Any]:
    """Return the labels of the facts, and by slug the name and the facts of each method.

    A fact is a text, or a text with an address; an empty text if the entry does not say.
    """
    labels = dict(FACETS)
    return {
        "labels": [
            "Published",
            *(labels[field] for field in FIELDS),
            "Code",
            "Implementation here",
            "Does not support",
        ],
        "methods": {
            slug: {
                "name": printable(atlas.names[slug]),
                "facts": [
                    venue(paper),
                    *(_words(paper, field) for field in FIELDS),
                    _code(paper),
                    _fidelity(paper, atlas.methods.get(slug)),
                    _refusals(atlas.methods.get(slug)),
                ],
            }
            for slug, paper in atlas.papers.items()
            if paper.is_method
        },
    }


def _words(paper: Paper, field: str) -> str:
    terms = vocabulary()[field].terms
    words = words_of(paper, field)
    return printable(", ".join(terms[word].label if word in terms else word for word in words))


def _code(paper: Paper) -> str | list[str]:
    best = best_code(paper)
    if not best:
        return code(paper)
    return [
        printable(", ".join(filter(None, (code(paper), best.license)))),
        safe_address(best.url),
    ]


def _fidelity(paper: Paper, method: Method | None) -> str:
    if not method:
        return "none"
    return printable((paper.fidelity or "not rated").replace("-", " "))


def _refusals(method: Method | None) -> str:
    """List the model families that the method refuses."""
    families = method.families if method else {}
    return printable(", ".join(name for name, reason in families.items() if reason))
