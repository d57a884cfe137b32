"""Who answers for which reference."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import get_args

from tools.sources.lookup.identification import Reference, Scheme, Unidentified, identify
from tools.sources.services import anthology, arxiv, crossref, cvf, neurips, openreview, pmlr
from tools.sources.services.facts import Facts
from tools.sources.web.client import Client

Fetch = Callable[[Reference, Client], Facts]

FETCH: dict[str, Fetch] = {
    "arxiv": arxiv.fetch,
    "doi": crossref.fetch,
    "anthology": anthology.fetch,
    "openreview": openreview.fetch,
    "pmlr": pmlr.fetch,
    "neurips": neurips.fetch,
    "cvf": cvf.fetch,
}
"""Who answers for each scheme."""


def fetch(reference: Reference, client: Client) -> Facts:
    """Return what the source of a reference's scheme says; raises `SourceError`.

    Raises `Unidentified` for a title, which no one source answers for.
    """
    if reference.scheme not in FETCH:
        raise Unidentified(f"'{reference.value[:80]}' is a title, which has to be searched for")
    return FETCH[reference.scheme](reference, client)


def references(facts: Facts) -> Iterator[Reference]:
    """Yield what facts name that a source answers for, arXiv first."""
    for scheme in get_args(Scheme):
        if scheme in facts.ids:
            yield Reference(scheme, facts.ids[scheme])
    if "venue" in facts.links:
        try:
            yield identify(facts.links["venue"])
        except Unidentified:
            return
