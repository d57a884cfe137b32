"""Item by item: refused with a reason, skipped, or written as a draft."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tools.catalog.checks import text_checks
from tools.catalog.checks.duplicates import Known, duplicates
from tools.catalog.documents.diagnostics import Problem
from tools.catalog.documents.yaml_reader import read
from tools.catalog.entries.files import write_file
from tools.catalog.entries.loader import Entry
from tools.catalog.schema.identifiers import SCHEMES
from tools.catalog.schema.paper import Paper
from tools.importing.drafting import make_draft, problems, text_of
from tools.importing.facts import (
    LIST,
    announcement,
    differences,
    is_preprint,
    to_compare,
    was_found,
)
from tools.importing.listing import Broken, Item
from tools.sources.lookup.queries import references
from tools.sources.merge import merge
from tools.sources.resolve import resolve
from tools.sources.services.facts import Facts, Resolved
from tools.sources.web.client import Client

Status = Literal["taken", "refused", "skipped"]


class Refusal(Exception):
    """Why no draft is made of a record: the reason in few words, then all that is to be said."""

    def __init__(self, reason: str, *said: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.said = said


@dataclass(frozen=True)
class Outcome:
    """What became of one item."""

    item: Item | Broken
    status: Status
    reason: str = ""
    """In few words, the same for all items that share it."""
    said: tuple[str, ...] = ()


class Importer:
    """Makes drafts in the folder `out`; asks the sources by `client`, or nobody without one."""

    def __init__(
        self,
        items: Sequence[Item | Broken],
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
        self._drafts = _drafts(out)

    def run(self, items: Iterable[Item | Broken], limit: int | None = None) -> Iterator[Outcome]:
        """Yield what became of each item, until `limit` drafts are written.

        Raises `WriteError` where a draft cannot be written.
        """
        taken = 0
        for item in items:
            outcome = self._outcome(item)
            yield outcome
            taken += outcome.status == "taken"
            if taken == limit:
                return

    def _outcome(self, item: Item | Broken) -> Outcome:
        if isinstance(item, Broken):
            return Outcome(item, "refused", "no record", tuple(map(_line, item.problems)))
        try:
            self._refuse_known(item, item.facts)
            if os.path.lexists(self._path(item)) and not self._force:
                said = (f"{self._path(item)} is there; --force writes it anew",)
                return Outcome(item, "skipped", "a draft is there", said)
            return Outcome(item, "taken", said=tuple(self._write(item)))
        except Refusal as refusal:
            return Outcome(item, "refused", refusal.reason, refusal.said)

    def _path(self, item: Item) -> Path:
        return self._out / f"{item.name}.yaml"

    def _write(self, item: Item) -> Iterator[str]:
        """Write the draft of an item, and yield what a person should look at."""
        _refuse_names(item, item.facts.authors)
        resolved = self._resolve(item)
        draft, left_out = make_draft(item.record, resolved)
        wrong, more = problems(draft, self._path(item))
        if wrong:
            raise Refusal("no entry can be made", *map(_said, wrong))
        write_file(self._path(item), text_of(draft), force=self._force)
        self._drafts[item.name] = to_compare(resolved.facts)
        yield from differences(item.record, item.facts, resolved)
        yield from left_out
        yield from (f"the checks will say: {_said(problem)}" for problem in more)

    def _refuse_known(self, item: Item, facts: Facts) -> None:
        """Refuse a paper of the catalog, and one that stands in the list before."""
        paper = to_compare(facts)
        for slug, reason in self._catalog.same_as(paper):
            raise Refusal(
                "in the catalog", f"the catalog has {slug}, which {reason}{_or_not(reason)}"
            )
        if item.name in self._slugs:
            said = f"{self._slugs[item.name]} in the catalog has this slug; give it another"
            raise Refusal("slug taken", said)
        for name, reason in self._listed.same_as(paper):
            if self._places[name] < self._places[item.name]:
                said = f"{name} in line {self._lines[name]} {reason}; keep one{_or_not(reason)}"
                raise Refusal("twice in the list", said)

    def _resolve(self, item: Item) -> Resolved:
        """Return what is known of an item; refuses what nobody can confirm."""
        facts = item.facts
        if not facts.ids and not facts.links:
            said = f"has neither identifier nor page; add url, or one of {', '.join(SCHEMES)}"
            raise Refusal("no identifier", said)
        if self._client is None:
            if not facts.authors:
                said = "has no authors, and no source is asked; add them, or leave out --offline"
                raise Refusal("no authors", said)
            return merge([facts])
        if not facts.authors and not any(references(facts.ids, facts.links.get("venue"))):
            said = "has no identifier that a source knows, and a title alone proves no paper"
            raise Refusal("no identifier", f"{said}; add one, or the authors")
        resolved = resolve(facts, self._client)
        self._refuse_doubtful(resolved, item)
        self._refuse_known(item, resolved.facts)
        others = {name: paper for name, paper in self._drafts.items() if name != item.name}
        for name, reason in duplicates(to_compare(resolved.facts), others):
            said = f"the draft {name} {reason}; keep one{_or_not(reason)}"
            raise Refusal("twice in the list", said)
        return resolved

    def _refuse_doubtful(self, resolved: Resolved, item: Item) -> None:
        facts = resolved.facts
        if not was_found(resolved):
            why = resolved.notes or ("none of those asked answered for it",)
            raise Refusal("no source", "no source confirms it", *why, "try again, or mend its ids")
        if resolved.origin.get("authors", LIST) == LIST:
            said = "no source names its authors; add it by hand: tools/add_paper.py --manual"
            raise Refusal("no authors", said)
        _refuse_names(item, facts.authors, resolved.origin["authors"])
        if is_preprint(item.record) and (comment := announcement(resolved)):
            said = f"a preprint to all sources, but on arXiv the authors say '{comment}'"
            raise Refusal("a venue on arXiv", said, "look, and give the record its venue")


def _or_not(reason: str) -> str:
    """Say what to do where two titles are only much alike."""
    advice = "; if it is another paper, add it by itself: tools/add_paper.py --force"
    return advice if "nearly" in reason else ""


def _refuse_names(item: Item, names: Iterable[str], origin: str = LIST) -> None:
    """Refuse names that no entry may have."""
    fields: dict[str, Any] = {"authors": tuple(names)}
    entry = Entry(item.name, Paper.model_construct(**fields), item.document)
    if found := list(text_checks.authors(entry)):
        raise Refusal("names", *(f"{_said(problem)} ({origin})" for problem in found))


def _drafts(folder: Path) -> dict[str, Paper]:
    """Return by slug as much of the drafts in a folder as shows whether two are the same."""
    found = {}
    for path in sorted(folder.glob("*.yaml")):
        data = read(path).data
        ids = data.get("ids")
        named = ids.items() if isinstance(ids, dict) else ()
        known = {scheme: str(value) for scheme, value in named if scheme in SCHEMES}
        title = str(data.get("title", ""))
        found[path.stem] = to_compare(Facts(source=path.name, title=title, ids=known))
    return found


def _said(problem: Problem) -> str:
    what = "; ".join(filter(None, (problem.message, problem.advice)))
    return f"{problem.field}: {what}" if problem.field else what


def _line(problem: Problem) -> str:
    return f"line {problem.line}: {_said(problem)}"
