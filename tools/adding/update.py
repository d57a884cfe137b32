"""What the sources say differently from an entry, and an entry that takes it over."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from tools.adding import questions
from tools.adding.checks import judge, made, today
from tools.adding.draft import Draft, Refused, Value
from tools.adding.intake import located, origin_of
from tools.adding.next_steps import next_steps, shown
from tools.adding.report import Report, plain
from tools.catalog.documents.yaml_reader import Loc, spell
from tools.catalog.entries.files import write_file
from tools.catalog.entries.loader import PAPERS, Entry, read_catalog
from tools.catalog.entries.writer import as_data, revise
from tools.catalog.schema.paper import Paper
from tools.catalog.schema.vocabulary import fold
from tools.sources.lookup.queries import references
from tools.sources.names.references import Reference
from tools.sources.resolve import resolve
from tools.sources.services.facts import Resolved
from tools.sources.web.client import Client

OF_PUBLISHING = frozenset({("status",), ("venue",), ("year",), ("track",)})
"""What must change when a preprint gets published."""


@dataclass(frozen=True)
class Change:
    """One field in which the sources differ from an entry."""

    loc: Loc
    old: Any
    """None where the entry says nothing."""
    new: Any
    source: str
    safe: bool
    """Whether it removes nothing that a person wrote, or is what publishing changes."""
    verified: bool = True
    """Whether the source is one to rely on for this field."""

    @property
    def confirms(self) -> bool:
        """Whether it only says that what nobody had checked is right."""
        return plain(self.old) == plain(self.new)

    def __str__(self) -> str:
        if self.confirms:
            return f"{spell(self.loc)}: {plain(self.old)}, confirmed ({self.source})"
        before = f"{plain(self.old)} -> " if self.old is not None else ""
        return f"{spell(self.loc)}: {before}{plain(self.new)} ({self.source})"


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the user wants, as the command line says it."""

    slug: str
    yes: bool = False
    ask: bool = False
    """Whether somebody at a terminal wants to be asked."""
    dry_run: bool = False
    catalog: Path = PAPERS


def update(request: Request, report: Report, connect: Callable[[], Client]) -> None:
    """Bring an entry up to date; raises `Refused`, or what sources and disk raise."""
    catalog = read_catalog(request.catalog)
    entry = _entry(request, catalog.entries)
    with connect() as client:
        resolved = resolve(_reference(entry.paper), client)
    report.notes("Sources disagree", resolved.disagreements)
    report.notes("Notes", resolved.notes)
    found = list(changes(entry.paper, resolved))
    if not found:
        report.say(f"{request.slug}: the sources say nothing that the entry does not")
        return
    head = ("Field", "Entry", "Sources", "From")
    report.table("Differences", head, map(_row, found), map(str, found))
    taken = _taken(request, found, report)
    path = request.catalog / f"{request.slug}.yaml"
    paper = made(revised(entry.paper, taken), path)
    text = revise(entry.document.text, paper)
    report.notes("The checks say", judge(catalog, path, paper, text))
    if request.dry_run:
        typer.echo(text, nl=False)
        return
    write_file(path, text, force=True)
    report.say(f"Written: {shown(path)}")
    for line in next_steps(request.slug, [path], paper.name or paper.title, verb="Update"):
        report.say(line)


def changes(paper: Paper, resolved: Resolved) -> Iterator[Change]:
    """Yield each field in which the sources say more than an entry, or something else."""
    draft = Draft(as_data(paper))
    published = paper.status == "preprint" and resolved.facts.venue is not None
    for loc, said in located(resolved.facts):
        old = draft.get(loc)
        new = _with_old_titles(paper, said) if loc == ("other_titles",) else said
        verified = spell(loc) not in resolved.unverified
        confirms = verified and spell(loc) in (paper.sources.unverified or ())
        same = plain(old) == plain(new)
        if not new or (same and not confirms) or (loc[0] == "code" and paper.code):
            continue
        keeps = same or old is None or loc == ("other_titles",)
        safe = keeps or (published and loc in OF_PUBLISHING)
        yield Change(loc, old, new, origin_of(loc, resolved), safe, verified)
    if published:
        source = origin_of(("venue",), resolved)
        yield Change(("status",), paper.status, "published", source, safe=True)


def revised(paper: Paper, taken: Sequence[Change]) -> Draft:
    """Return an entry with changes taken over, and its provenance brought up to date."""
    draft = Draft(as_data(paper))
    for change in taken:
        draft.put(change.loc, change.new, change.source)
        if change.loc == ("title",) and fold(change.old) != fold(change.new):
            others = draft.get(("other_titles",)) or []
            draft.put(("other_titles",), [*others, change.old], change.source)
    sources = dict.fromkeys([*paper.sources.from_, *(change.source for change in taken)])
    draft.put(("sources", "from"), list(sources), "")
    draft.put(("sources", "checked"), today(), "")
    named = {spell(change.loc).partition("[")[0]: change for change in taken}
    left = [name for name in paper.sources.unverified or () if name not in named]
    left += [name for name, change in named.items() if not change.verified]
    if left:
        draft.put(("sources", "unverified"), left, "")
    else:
        draft.drop(("sources", "unverified"))
    return draft


def _entry(request: Request, entries: Mapping[str, Entry]) -> Entry:
    if request.slug in entries:
        return entries[request.slug]
    path = request.catalog / f"{request.slug}.yaml"
    if path.is_file():
        raise Refused(f"{shown(path)} is not valid; run tools/check_catalog.py and mend it first")
    close = difflib.get_close_matches(request.slug, entries, n=3)
    meant = f"; did you mean {' or '.join(close)}?" if close else "; to add one, use add_paper.py"
    raise Refused(f"the catalog has no entry {request.slug}{meant}")


def _reference(paper: Paper) -> Reference:
    """Return what the sources are asked for."""
    known = next(references(dict(paper.ids), paper.links.venue, paper.links.paper), None)
    if known is None:
        raise Refused("the entry has no identifier that a source knows; edit it by hand")
    return known


def _taken(request: Request, found: Sequence[Change], report: Report) -> list[Change]:
    """Return the changes to make: what somebody picks, or with --yes what removes nothing."""
    if request.ask:
        options = [(str(change), change, change.safe) for change in found]
        taken = questions.pick("Take which?", options)
    elif request.yes or request.dry_run:
        taken = [change for change in found if change.safe]
        left = [str(change) for change in found if not change.safe]
        report.notes("Left as a person wrote it; answer on a terminal to change it", left)
    else:
        raise Refused("nobody is there to ask; --yes takes what removes nothing that is written")
    if not taken:
        raise Refused("nothing was taken, and nothing written")
    return taken


def _with_old_titles(paper: Paper, found: Value) -> list[str]:
    old = list(paper.other_titles or ())
    return [*old, *(str(title) for title in found if title not in (paper.title, *old))]


def _row(change: Change) -> tuple[str, ...]:
    old, new = plain(change.old or ""), "confirmed" if change.confirms else plain(change.new)
    return (spell(change.loc), old, new, change.source)
