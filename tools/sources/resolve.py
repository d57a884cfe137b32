"""From a reference to what all sources say of the paper."""

from __future__ import annotations

from dataclasses import replace

from tools.sources.gathering import Gathering
from tools.sources.lookup.identification import Reference
from tools.sources.lookup.queries import fetch, references
from tools.sources.names.similarity import similarity
from tools.sources.services import arxiv, dblp, openreview
from tools.sources.services.facts import Candidate, Facts, Resolved
from tools.sources.web.client import Client
from tools.sources.web.errors import SourceError


def resolve(start: Reference | Facts, client: Client) -> Resolved:
    """Ask the source a reference names, then all that may know more, and merge.

    `start` may also be facts at hand (of a BibTeX file), which then count least. Raises
    `SourceError` where the first source fails or answers about another paper, and `Unidentified`
    for a title; a later source that fails is only noted.
    """
    if isinstance(start, Facts):
        gathering = Gathering(start, None, client)
    else:
        asked = replace(start, version=None)
        gathering = Gathering(fetch(start, client), asked, client)
    gathering.follow()
    if not gathering.knows("arxiv"):
        gathering.search(arxiv.search)
    for ask in (dblp.search, openreview.search):
        if not gathering.published:
            gathering.search(ask)
            gathering.follow()
    gathering.fall_back()
    gathering.follow()
    return gathering.merged()


def search(title: str, client: Client) -> list[Candidate]:
    """Return the papers that a title may mean, most similar first.

    Raises `SourceError` where no source could be asked.
    """
    candidates: dict[Reference, Candidate] = {}
    errors = []
    for ask in (arxiv.search, dblp.search):
        try:
            found = ask(title, client)
        except SourceError as error:
            errors.append(error)
            continue
        for facts in found:
            if candidate := _candidate(facts, title):
                candidates.setdefault(candidate.reference, candidate)
    if len(errors) == 2:
        raise errors[0]
    return sorted(candidates.values(), key=lambda one: -one.similarity)


def _candidate(facts: Facts, title: str) -> Candidate | None:
    named = next(references(facts), None)
    if named is None or not facts.title:
        return None
    return Candidate(
        reference=named,
        title=facts.title,
        authors=facts.authors,
        year=facts.year,
        source=facts.source,
        similarity=similarity(title, facts.title),
    )
