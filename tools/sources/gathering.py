"""What is found on the way from one reference to all that is known of a paper."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tools.sources.lookup.identification import Reference
from tools.sources.lookup.queries import fetch, references
from tools.sources.merge import merge
from tools.sources.names.similarity import LINKED, SAME, share_a_name, similarity
from tools.sources.services import semantic_scholar
from tools.sources.services.facts import Facts, Resolved
from tools.sources.web.client import Client
from tools.sources.web.errors import SourceError

Search = Callable[[str, Client], list[Facts]]


class Gathering:
    """What has been found so far, and whom not to ask again."""

    def __init__(self, first: Facts, asked: Reference | None, client: Client) -> None:
        self.found = [first]
        self.notes: list[str] = []
        self._client = client
        self._first = first
        self._asked = {asked}
        self._failed = False
        self._strangers: set[tuple[str, str]] = set()

    def knows(self, scheme: str) -> bool:
        """Whether anybody named an identifier of a scheme."""
        return any(scheme in facts.ids for facts in self.found)

    @property
    def published(self) -> bool:
        """Whether a source, not only a BibTeX file, named a venue."""
        return any(facts.venue for facts in self.found if facts.source != "BibTeX")

    def follow(self) -> None:
        """Ask the sources of all identifiers found, also of those found on the way."""
        # The list grows while it is walked through.
        for facts in self.found:
            for reference in references(facts):
                if reference not in self._asked:
                    self._asked.add(reference)
                    self._follow(reference)

    def _follow(self, reference: Reference) -> None:
        for facts in self._ask(lambda: [fetch(reference, self._client)]):
            if self._is_it(facts, LINKED):
                self.found.append(facts)
            else:
                self._strangers.add((reference.scheme, reference.value))
                self.notes.append(
                    f"{reference} is another paper, '{facts.title}', and was left out"
                )

    def search(self, ask: Search) -> None:
        """Ask a source for the title, and keep one record of each sort: published, preprint."""
        title = self._first.title or ""
        found = self._ask(lambda: ask(title, self._client))
        same = [facts for facts in found if self._is_it(facts, SAME)]
        self.found += [facts for facts in same if facts.venue][:1]
        self.found += [facts for facts in same if not facts.venue][:1]

    def fall_back(self) -> None:
        """Ask Semantic Scholar, where a better source could not be asked and none knew a venue."""
        known = [r for facts in self.found for r in references(facts)]
        asked = [r for r in known if r.scheme in semantic_scholar.PREFIXES]
        if not self.published and self._failed and asked:
            ask = semantic_scholar.fetch
            found = self._ask(lambda: [ask(asked[0], self._client)])
            self.found += [facts for facts in found if self._is_it(facts, LINKED)]

    def merged(self) -> Resolved:
        """Merge what was found, without the identifiers of other papers."""
        kept = [
            replace(
                facts,
                ids={s: v for s, v in facts.ids.items() if (s, v) not in self._strangers},
            )
            for facts in self.found
        ]
        return merge(kept, self.notes)

    def _ask(self, ask: Callable[[], list[Facts]]) -> list[Facts]:
        try:
            return ask()
        except SourceError as error:
            self._failed = True
            self.notes.append(f"{error.what}; the other sources were asked without it")
            return []

    def _is_it(self, facts: Facts, least: float) -> bool:
        titles = [known.title or "" for known in self.found]
        alike = max(similarity(title, facts.title or "") for title in titles) >= least
        return alike and any(share_a_name(known.authors, facts.authors) for known in self.found)
