"""Updating an entry: its differences from the sources, and the entry with accepted changes."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from tools.adding import questions
from tools.adding.checks import build_paper, check_entry, today
from tools.adding.command import connect
from tools.adding.draft import Draft, EntryError, Value
from tools.adding.draft_input import facts_by_path, origin_of
from tools.adding.messages import next_steps, notes, plain, say, shown
from tools.catalog.documents.yaml_reader import Loc, field_path
from tools.catalog.entries.files import write_file
from tools.catalog.entries.loader import Entry, read_catalog
from tools.catalog.entries.writer import canonical
from tools.catalog.schema.paper import Paper
from tools.catalog.schema.vocabulary import fold
from tools.sources.lookup.queries import references
from tools.sources.names.references import Reference
from tools.sources.resolve import resolve
from tools.sources.services.facts import Resolved

PUBLICATION_FIELDS = frozenset({("status",), ("venue",), ("year",), ("track",)})
"""Fields that change when a preprint is published."""


@dataclass(frozen=True)
class Change:
    """One field in which the sources differ from an entry, or confirm it."""

    loc: Loc
    old: Any
    """None if the entry does not have the field."""
    new: Any
    source: str
    safe: bool
    """Whether it removes nothing that a person wrote, or follows from the publication."""
    verified: bool = True
    """Whether the source is reliable for this field."""

    @property
    def confirms(self) -> bool:
        """Whether it only confirms an unverified value."""
        return plain(self.old) == plain(self.new)

    def __str__(self) -> str:
        if self.confirms:
            return f"{field_path(self.loc)}: {plain(self.old)}, confirmed ({self.source})"
        before = f"{plain(self.old)} -> " if self.old is not None else ""
        return f"{field_path(self.loc)}: {before}{plain(self.new)} ({self.source})"


def update(
    slug: str, *, yes: bool, ask: bool, dry_run: bool, contact: str | None, folder: Path
) -> None:
    """Update an entry; raises `EntryError`, `SourceError` or `WriteError`."""
    catalog = read_catalog(folder)
    path = folder / f"{slug}.yaml"
    entry = _entry(path, catalog.entries)
    with connect(contact) as client:
        resolved = resolve(_reference(entry.paper), client)
    notes("Sources disagree", resolved.disagreements)
    notes("Notes", resolved.notes)
    found = list(changes(entry, resolved))
    if not found:
        say(f"{slug}: the entry agrees with its sources")
        return
    notes("Differences", map(str, found))
    draft = apply_changes(entry, _accepted(found, yes=yes or dry_run, ask=ask))
    paper = build_paper(draft, path)
    text = canonical(draft.data)
    notes("Warnings", check_entry(catalog, path, paper, text))
    if dry_run:
        typer.echo(text, nl=False)
        return
    write_file(path, text, force=True)
    say(f"Written: {shown(path)}")
    for line in next_steps(slug, [path], paper.name or paper.title, verb="Update"):
        say(line)


def changes(entry: Entry, resolved: Resolved) -> Iterator[Change]:
    """Yield the fields in which the sources differ from an entry or confirm unverified values."""
    paper, draft = entry.paper, Draft(entry.document.data)
    published = paper.status == "preprint" and resolved.facts.venue is not None
    for loc, value in facts_by_path(resolved.facts):
        old = draft.get(loc)
        new = _with_old_titles(paper, value) if loc == ("other_titles",) else value
        verified = field_path(loc) not in resolved.unverified
        confirms = verified and field_path(loc) in (paper.sources.unverified or ())
        same = plain(old) == plain(new)
        if not new or (same and not confirms) or (loc[0] == "code" and paper.code):
            continue
        keeps = same or old is None or loc == ("other_titles",)
        safe = keeps or (published and loc in PUBLICATION_FIELDS)
        yield Change(loc, old, new, origin_of(loc, resolved), safe, verified)
    if published:
        source = origin_of(("venue",), resolved)
        yield Change(("status",), paper.status, "published", source, safe=True)


def apply_changes(entry: Entry, accepted: Sequence[Change]) -> Draft:
    """Return the draft of an entry with accepted changes and updated provenance."""
    paper, draft = entry.paper, Draft(deepcopy(entry.document.data))
    for change in accepted:
        draft.put(change.loc, change.new, change.source)
    draft.complete_code()
    others = draft.get(("other_titles",)) or []
    if fold(paper.title) not in map(fold, (draft.data["title"], *others)):
        draft.put(("other_titles",), [*others, paper.title], "")
    sources = dict.fromkeys([*paper.sources.from_, *(change.source for change in accepted)])
    draft.put(("sources", "from"), list(sources), "")
    draft.put(("sources", "checked"), today(), "")
    changed = {field_path(change.loc).partition("[")[0]: change for change in accepted}
    unverified = [name for name in paper.sources.unverified or () if name not in changed]
    unverified += [name for name, change in changed.items() if not change.verified]
    if unverified:
        draft.put(("sources", "unverified"), unverified, "")
    else:
        draft.drop(("sources", "unverified"))
    return draft


def _entry(path: Path, entries: Mapping[str, Entry]) -> Entry:
    slug = path.stem
    if slug in entries:
        return entries[slug]
    if path.is_file():
        raise EntryError(f"{shown(path)} is not valid; run tools/check_catalog.py and fix it first")
    close = difflib.get_close_matches(slug, entries, n=3)
    advice = f"did you mean {' or '.join(close)}?" if close else "to add one, use add_paper.py"
    raise EntryError(f"the catalog has no entry {slug}; {advice}")


def _reference(paper: Paper) -> Reference:
    """Return the first identifier or page that a source knows."""
    known = next(references(dict(paper.ids), paper.links.venue, paper.links.paper), None)
    if known is None:
        raise EntryError("the entry has no identifier of a known source; edit it by hand")
    return known


def _accepted(found: Sequence[Change], *, yes: bool, ask: bool) -> list[Change]:
    """Return the changes that the user selects, or without questions the safe ones."""
    if ask:
        options = [(str(change), change, change.safe) for change in found]
        accepted = questions.pick("Which changes do you accept?", options)
    elif yes:
        accepted = [change for change in found if change.safe]
        rest = [str(change) for change in found if not change.safe]
        notes("Not changed, because a person wrote it; run without --yes to decide", rest)
    else:
        raise EntryError("questions need a terminal; use --yes to accept the safe changes")
    if not accepted:
        raise EntryError("no change was accepted; nothing was written")
    return accepted


def _with_old_titles(paper: Paper, found: Value) -> list[str]:
    old = list(paper.other_titles or ())
    return [*old, *(str(title) for title in found if title not in (paper.title, *old))]
