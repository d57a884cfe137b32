"""Lookup of one paper at all sources."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from tools.sources.client import Client
from tools.sources.errors import SourceError
from tools.sources.lookup.queries import fetch, references, search, services_for
from tools.sources.merge import merge
from tools.sources.names.references import Reference
from tools.sources.names.similarity import LINKED, SAME, share_a_name, similarity
from tools.sources.services.facts import Facts, Resolved
from tools.sources.services.registry import BY_NAME
from tools.sources.services.service import Service

T = TypeVar("T")


@dataclass(frozen=True)
class Candidate:
    """A possible paper for a title."""

    reference: Reference
    facts: Facts
    similarity: float
    """Similarity of the titles, 0 to 100."""


def resolve(start: Reference | Facts, client: Client) -> Resolved:
    """Query the source of a reference, then the other sources, and merge their facts.

    `start` may also be the facts of a BibTeX file, which have the lowest precedence. Raises
    `SourceError` if the first source fails, and `Unidentified` for a title. A failure of a later
    source is only noted.
    """
    if isinstance(start, Facts):
        inquiry = Inquiry([start], [], client)
    else:
        inquiry = Inquiry([fetch(start, client)], [start], client)
    inquiry.follow()
    for service in services_for("preprints"):
        if not inquiry.knows(service.schemes):
            inquiry.search(service)
    inquiry.search_venues()
    return inquiry.merged()


def candidates(title: str, client: Client) -> list[Candidate]:
    """Return the possible papers for a title, most similar first.

    Raises `SourceError` if no source answers.
    """
    found: dict[Reference, Candidate] = {}
    errors = []
    services = services_for("titles")
    for service in services:
        try:
            answers = search(service, title, client)
        except SourceError as error:
            errors.append(error)
            continue
        for facts in answers:
            reference = next(_references(facts), None)
            if reference and facts.title:
                alike = similarity(title, facts.title)
                found.setdefault(reference, Candidate(reference, facts, alike))
    if len(errors) == len(services):
        raise errors[0]
    return sorted(found.values(), key=lambda one: -one.similarity)


class Inquiry:
    """The facts found about one paper so far, and the references already looked up."""

    def __init__(self, known: Sequence[Facts], asked: Iterable[Reference], client: Client) -> None:
        self.found = [*known]
        self.notes: list[str] = []
        self._client = client
        self._asked = {*asked}
        self._strangers: set[tuple[str, str]] = set()

    def knows(self, schemes: Container[str]) -> bool:
        """Whether an identifier of one of these schemes was found."""
        return any(scheme in schemes for facts in self.found for scheme in facts.ids)

    @property
    def published(self) -> bool:
        """Whether a source other than a BibTeX file names a venue."""
        return any(facts.venue for facts in self.found if facts.source in BY_NAME)

    @property
    def _title(self) -> str:
        """The title to search for, preferably from a source."""
        named = [facts for facts in self.found if facts.source in BY_NAME]
        return (named or self.found)[0].title or ""

    def follow(self) -> None:
        """Look up all identifiers found, including those found in the process."""
        # `_follow` appends to `found` during the iteration.
        for facts in self.found:
            for reference in _references(facts):
                if reference not in self._asked:
                    self._asked.add(reference)
                    self._follow(reference)

    def _follow(self, reference: Reference) -> None:
        facts = self._try(partial(fetch, reference, self._client))
        if facts and self._is_it(facts, LINKED):
            self.found.append(facts)
        elif facts:
            self._strangers.add((reference.scheme, reference.value))
            self.notes.append(f"{reference} is another paper, '{facts.title}', and was ignored")

    def search(self, service: Service) -> None:
        """Search a source for the title; keep one published record and one preprint."""
        found = self._try(partial(search, service, self._title, self._client)) or []
        same = [facts for facts in found if self._is_it(facts, SAME)]
        self.found += [facts for facts in same if facts.venue][:1]
        self.found += [facts for facts in same if not facts.venue][:1]

    def search_venues(self) -> None:
        """Search for the published version until a source names a venue."""
        # First an index of all venues, then the records of single venues.
        for service in sorted(services_for("venues"), key=lambda one: bool(one.schemes)):
            if not self.published:
                self.search(service)
                self.follow()

    def merged(self) -> Resolved:
        """Merge the facts, without the identifiers of other papers."""
        kept = [
            replace(
                facts,
                ids={s: v for s, v in facts.ids.items() if (s, v) not in self._strangers},
            )
            for facts in self.found
        ]
        return merge(kept, self.notes)

    def _try(self, request: Callable[[], T]) -> T | None:
        try:
            return request()
        except SourceError as error:
            self.notes.append(f"{error.problem}; continued with the other sources")
            return None

    def _is_it(self, facts: Facts, least: float) -> bool:
        titles = [known.title or "" for known in self.found]
        alike = max(similarity(title, facts.title or "") for title in titles) >= least
        return alike and any(share_a_name(known.authors, facts.authors) for known in self.found)


def _references(facts: Facts) -> Iterator[Reference]:
    return references(facts.ids, facts.links.get("venue"))
