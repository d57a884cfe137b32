"""The import of records: each is accepted as a draft, rejected with a reason, or skipped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tools.catalog.checks import text_checks
from tools.catalog.checks.duplicates import Known
from tools.catalog.documents.diagnostics import Problem
from tools.catalog.entries.files import write_file
from tools.catalog.entries.loader import Entry
from tools.catalog.entries.writer import canonical
from tools.catalog.schema.identifiers import SCHEMES
from tools.catalog.schema.paper import Paper
from tools.importing.record_draft import build_draft, problems
from tools.importing.record_facts import LIST, differences, to_compare, was_found
from tools.importing.record_list import InvalidItem, Item
from tools.sources.client import Client
from tools.sources.lookup.queries import references
from tools.sources.merge import merge
from tools.sources.resolve import resolve
from tools.sources.services.facts import Facts, Resolved

Status = Literal["accepted", "rejected", "skipped"]


class Rejection(Exception):
    """A record that is rejected, with a short reason and its details."""

    def __init__(self, reason: str, *details: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.details = details


@dataclass(frozen=True)
class Outcome:
    """The result of one item."""

    item: Item | InvalidItem
    status: Status
    reason: str = ""
    """A short reason, by which the summary counts."""
    details: tuple[str, ...] = ()


class Importer:
    """Writes drafts into the folder `out`; without a `client`, no source is queried."""

    def __init__(
        self,
        items: Sequence[Item | InvalidItem],
        papers: Mapping[str, Paper],
        out: Path,
        client: Client | None,
        *,
        force: bool = False,
    ) -> None:
        self._client = client
        self._out = out
        self._force = force
        self._catalog = Known(papers)
        self._slugs = {old: slug for slug in papers for old in papers[slug].aliases or ()}
        self._slugs |= {slug: slug for slug in papers}
        listed = {item.name: item for item in items if isinstance(item, Item)}
        self._listed = Known({name: to_compare(item.facts) for name, item in listed.items()})
        self._places = {name: place for place, name in enumerate(listed)}
        self._lines = {name: item.document.line(()) for name, item in listed.items()}

    def run(
        self, items: Iterable[Item | InvalidItem], limit: int | None = None
    ) -> Iterator[Outcome]:
        """Yield the result of each item until `limit` drafts are written.

        Raises `WriteError` if a draft cannot be written.
        """
        accepted = 0
        for item in items:
            outcome = self._outcome(item)
            yield outcome
            accepted += outcome.status == "accepted"
            if accepted == limit:
                return

    def _outcome(self, item: Item | InvalidItem) -> Outcome:
        if isinstance(item, InvalidItem):
            return Outcome(item, "rejected", "invalid record", tuple(map(_line, item.problems)))
        try:
            self._reject_known(item, item.facts)
            if self._path(item).exists() and not self._force:
                details = (f"{self._path(item)} exists; use --force to replace it",)
                return Outcome(item, "skipped", "existing draft", details)
            return Outcome(item, "accepted", details=tuple(self._write(item)))
        except Rejection as rejection:
            return Outcome(item, "rejected", rejection.reason, rejection.details)

    def _path(self, item: Item) -> Path:
        return self._out / f"{item.name}.yaml"

    def _write(self, item: Item) -> Iterator[str]:
        """Write the draft of an item and yield notes for a person to look at."""
        _reject_names(item, item.facts.authors)
        resolved = self._resolve(item)
        draft, notes = build_draft(item.record, resolved)
        invalid, errors = problems(draft, self._path(item))
        if invalid:
            raise Rejection("invalid entry", *map(_sentence, invalid))
        write_file(self._path(item), canonical(draft.data), force=self._force)
        yield from differences(item.record, item.facts, resolved)
        yield from notes
        yield from (f"check_catalog.py will report: {_sentence(problem)}" for problem in errors)

    def _reject_known(self, item: Item, facts: Facts) -> None:
        """Reject a paper that is in the catalog or earlier in the list."""
        paper = to_compare(facts)
        for slug, reason in self._catalog.same_as(paper):
            raise Rejection(
                "in the catalog", f"the catalog has {slug}, which {reason}{_force_advice(reason)}"
            )
        if item.name in self._slugs:
            details = f"{self._slugs[item.name]} in the catalog has this slug; use another one"
            raise Rejection("slug in use", details)
        for name, reason in self._listed.same_as(paper):
            if self._places[name] < self._places[item.name]:
                line = self._lines[name]
                details = f"{name} in line {line} {reason}; keep one{_force_advice(reason)}"
                raise Rejection("twice in the list", details)

    def _resolve(self, item: Item) -> Resolved:
        """Return the merged facts of an item; reject it if no source confirms it."""
        facts = item.facts
        if not facts.ids and not facts.links:
            details = f"the record needs an identifier or page: url, or {', '.join(SCHEMES)}"
            raise Rejection("no identifier", details)
        if self._client is None:
            if not facts.authors:
                details = "the record has no authors; add them, or run without --offline"
                raise Rejection("no authors", details)
            return merge([facts])
        if not facts.authors and not any(references(facts.ids, facts.links.get("venue"))):
            details = "the record has no identifier of a known source; add one, or the authors"
            raise Rejection("no identifier", details)
        resolved = resolve(facts, self._client)
        self._reject_unconfirmed(resolved, item)
        self._reject_known(item, resolved.facts)
        return resolved

    def _reject_unconfirmed(self, resolved: Resolved, item: Item) -> None:
        facts = resolved.facts
        if not was_found(resolved):
            notes = resolved.notes or ("no queried source knows the paper",)
            advice = "try again, or correct its identifiers"
            raise Rejection("no source", "no source confirms it", *notes, advice)
        if resolved.origin.get("authors", LIST) == LIST:
            details = "no source names its authors; add it by hand: tools/add_paper.py --manual"
            raise Rejection("no authors", details)
        _reject_names(item, facts.authors, resolved.origin["authors"])


def _force_advice(reason: str) -> str:
    """Return advice for two papers whose titles are similar but not equal."""
    advice = "; if it is a different paper, add it with tools/add_paper.py --force"
    return advice if "nearly" in reason else ""


def _reject_names(item: Item, names: Iterable[str], origin: str = LIST) -> None:
    """Reject author names that an entry must not have."""
    fields: dict[str, Any] = {"authors": tuple(names)}
    entry = Entry(item.name, Paper.model_construct(**fields), item.document)
    if found := list(text_checks.authors(entry)):
        raise Rejection("names", *(f"{_sentence(problem)} ({origin})" for problem in found))


def _sentence(problem: Problem) -> str:
    text = "; ".join(filter(None, (problem.message, problem.advice)))
    return f"{problem.field}: {text}" if problem.field else text


def _line(problem: Problem) -> str:
    return f"line {problem.line}: {_sentence(problem)}"
