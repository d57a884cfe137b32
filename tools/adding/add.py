"""Adding one paper: from what somebody gave to a written entry, or to a reason why not."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import typer

from tools.adding import questions
from tools.adding.checks import abstracts, implementations, judge, known, made, today
from tools.adding.draft import YOU, Draft, Refused, Value, copied
from tools.adding.fields import FIELDS, Field
from tools.adding.files import read_file
from tools.adding.intake import take_file, take_given, take_place, take_reference, take_resolved
from tools.adding.keeping import keep, kept, place
from tools.adding.next_steps import next_steps, shown
from tools.adding.proposals import offer_proposals, propose_slugs
from tools.adding.report import Report, show_draft
from tools.catalog.documents.yaml_reader import spell
from tools.catalog.entries.abstracts import save
from tools.catalog.entries.files import write_file
from tools.catalog.entries.loader import PAPERS, read_catalog
from tools.catalog.entries.writer import render
from tools.catalog.schema.identifiers import SLUG, Form
from tools.catalog.schema.paper import Paper
from tools.scaffold import scaffold
from tools.sources.lookup.identification import identify
from tools.sources.names.references import Reference, Unidentified
from tools.sources.resolve import Candidate, candidates, resolve
from tools.sources.services.facts import Facts
from tools.sources.web.client import Client

PLACE = "Identifier (arXiv, DOI, OpenReview, Anthology, PMLR) or address of the paper"
BY_HAND = "enter the paper by hand with --manual"
OTHERWISE = f"give an identifier, or {BY_HAND}"


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the user wants, as the command line says it."""

    what: str = ""
    """Identifier, address or title."""
    given: Mapping[str, Value] = field(default_factory=dict)
    """Facts by flag."""
    slug: str = ""
    from_file: Path | None = None
    manual: bool = False
    ask: bool = False
    """Whether somebody at a terminal wants to be asked."""
    dry_run: bool = False
    force: bool = False
    scaffold: bool = False
    catalog: Path = PAPERS

    def path(self, slug: str) -> Path:
        """Return the file of an entry."""
        return self.catalog / f"{slug}.yaml"


class Adding:
    """One paper on its way into the catalog.

    `connect` makes the client of the sources, if they are asked at all.
    """

    def __init__(self, request: Request, report: Report, connect: Callable[[], Client]) -> None:
        self.request = request
        self.report = report
        self.connect = connect
        self.catalog = read_catalog(request.catalog)
        self.draft = Draft()
        self.kept = place(request.catalog, request.what or str(request.from_file or ""))

    def run(self) -> None:
        """Do it; raises `Refused`, or what sources, disk and scaffold raise."""
        if self.request.slug and (wrong := self._wrong_slug(self.request.slug)):
            raise Refused(wrong)
        try:
            self._run()
        except BaseException:  # Ctrl-C too
            if self.kept.exists() and self.draft.answered:
                self.report.say("Your answers are kept: the same command goes on from there.")
            raise
        self.kept.unlink(missing_ok=True)

    def _run(self) -> None:
        if not self._goes_on():
            start = self._begin()
            self._refuse_known()
            if start and not self.request.manual:
                self._resolve(start)
                self._refuse_known()
        if self.request.ask:
            self.draft.keep = partial(keep, self.draft, self.kept)
            self._ask_what_sources_know()
        take = FIELDS if self.request.ask else questions.NEEDED
        show_draft(self.report, self.draft, offer_proposals(self.draft, take, self._methods()))
        if self.request.ask:
            questions.ask_what_readers_know(self.draft)
        self._refuse_gaps()
        slug = self._slug()
        while not self._finish(slug):
            pass

    def _goes_on(self) -> bool:
        """Take up a draft of an earlier time, if there is one and the user wants it."""
        found = kept(self.kept) if self.request.ask else None
        if found is None or not found.answered:
            return False
        about = found.data.get("title") or "a paper without a title yet"
        if not questions.confirm(f"Go on with the draft of {about}?", default=True):
            return False
        self.draft = found
        for flag, value in self.request.given.items():
            found.put(FIELDS[flag].loc, value, YOU)
        self._refuse_known()
        return True

    def _methods(self) -> dict[str, str]:
        """Return the names of the methods that a paper may build on, by slug."""
        papers = self.catalog.papers.items()
        return {slug: p.name for slug, p in papers if p.name and p.kind == "method"}

    def _begin(self) -> Reference | Facts | None:
        """Take what was given; return what the sources are to be asked for, if anything."""
        request, draft = self.request, self.draft
        take_given(draft, request.given)
        if request.from_file:
            file = read_file(request.from_file)
            take_file(draft, file)
            if file.facts and request.manual:
                self.report.notes("Notes", file.facts.notes)
            named = file.identifier and take_place(draft, file.identifier, file.origin)
            return file.facts or named or None
        if not request.what or request.manual:
            return take_place(draft, request.what) if request.what else None
        reference = identify(request.what)
        if reference.scheme != "title":
            take_place(draft, request.what)
        return reference

    def _refuse_known(self) -> None:
        """Stop at a paper that is there already: by its identifiers, then by its title."""
        for slug, reason in known(self.draft, self.catalog):
            if not self.request.force:
                raise Refused(
                    f"the catalog has this paper already, as {slug} ({reason}); edit "
                    f"{shown(self.request.path(slug))} or run tools/update_paper.py {slug}, "
                    "or give --force if it is another paper"
                )

    def _resolve(self, start: Reference | Facts) -> None:
        with self.connect() as client:
            if isinstance(start, Reference) and start.scheme == "title":
                start = self._choose(start.value, candidates(start.value, client))
                take_reference(self.draft, start)
                self._refuse_known()
            resolved = resolve(start, client)
        differences = take_resolved(self.draft, resolved)
        self.report.notes("Sources disagree", (*resolved.disagreements, *differences))
        self.report.notes("Notes", resolved.notes)

    def _choose(self, title: str, found: list[Candidate]) -> Reference:
        """Let the user say which paper a title means; without a user, none is taken."""
        if not found:
            raise Refused(f"no source knows a paper called '{title}'; {OTHERWISE}")
        lines = [_line(candidate) for candidate in found]
        if not self.request.ask:
            self.report.notes("Papers with a similar title", lines)
            raise Refused(
                "a title alone proves no paper, so none of these was taken; give the identifier "
                f"of the right one, such as {found[0].reference.value}"
            )
        options = [*zip(lines, found, strict=True), ("None of these", None)]
        chosen = questions.choose("Which paper is it?", options)
        if chosen is None:
            raise Refused(f"no paper was chosen; {OTHERWISE}")
        return chosen.reference

    def _ask_what_sources_know(self) -> None:
        draft = self.draft
        by_hand = self.request.manual or not draft.sourced
        if not draft.placed:
            take_place(draft, questions.ask(PLACE, self._wrong_place))
        questions.ask_each(draft, ["title", "author", "year", *(["venue"] if by_hand else [])])
        self._refuse_known()
        if not draft.sourced:
            questions.ask_each(draft, ["source"])

    def _wrong_place(self, text: str) -> str | None:
        """Say what speaks against an identifier or address, before anything else is asked."""
        probe = Draft()
        try:
            reference = take_place(probe, text)
        except Unidentified as error:
            return str(error)
        if reference and reference.scheme == "title":
            return "This is a title; an identifier or an address is needed here."
        for slug, reason in known(probe, self.catalog):
            return f"The catalog has this paper already, as {slug} ({reason})."
        return None

    def _refuse_gaps(self) -> None:
        if gaps := list(self.draft.missing()):
            raise Refused(_asking_for(gaps))
        if copied(self.draft.data["summary"], self.draft.abstract):
            raise Refused("the summary is from the abstract; say it in words of your own")

    def _slug(self) -> str:
        """Return the slug that was given or else the best free one; ask where somebody is there."""
        if self.request.slug:
            return self.request.slug
        data, file = self.draft.data, self.request.from_file
        year = int(data["year"]) if re.fullmatch(r"\d{4}", str(data["year"])) else None
        proposed = list(propose_slugs(data["title"], data["authors"], year))
        if file and file.suffix in (".yaml", ".yml"):
            proposed.insert(0, file.stem)
        free = [slug for slug in proposed if not self._wrong_slug(slug)]
        if self.request.ask:
            best = free[0] if free else ""
            return questions.ask("Slug, the short name of the entry", self._wrong_slug, best)
        if not free:
            taken = f" that is free ({', '.join(proposed)})" if proposed else ""
            raise Refused(f"the title suggests no slug{taken}; give one with --slug")
        return free[0]

    def _wrong_slug(self, slug: str) -> str | None:
        if wrong := no_slug(slug):
            return wrong
        if self.request.path(slug).exists() and not self.request.force:
            return f"{shown(self.request.path(slug))} exists already; choose another slug"
        return None

    def _settle_fidelity(self, path: Path) -> None:
        """A paper whose method has a folder says how that follows it."""
        folder = implementations(path) / path.stem
        if self.draft.value("fidelity") is None and (folder.exists() or self.request.scaffold):
            if not self.request.ask:
                raise Refused(_asking_for([FIELDS["fidelity"]]))
            questions.ask_each(self.draft, ["fidelity"])

    def _finish(self, slug: str) -> bool:
        """Write the entry if nothing is wrong with it; else ask again for what is, if one can."""
        try:
            self._write_checked(slug)
        except Refused as error:
            wrong = [flag for flag in FIELDS if _named(FIELDS[flag], error.fields)]
            if not self.request.ask or not wrong:
                raise
            self.report.say(str(error), style="red")
            questions.ask_again(self.draft, wrong)
            return False
        return True

    def _write_checked(self, slug: str) -> None:
        """Validate, judge with the rest of the catalog, and write."""
        path = self.request.path(slug)
        self._settle_fidelity(path)
        self.report.notes("Listed as unverified", self.draft.unverified())
        self.draft.complete(today())
        paper = made(self.draft, path)
        text = render(paper)
        planned = paper.model_copy(update={"fidelity": None}) if self.request.scaffold else paper
        self.report.notes("The checks say", judge(self.catalog, path, planned, text))
        if self.request.dry_run:
            typer.echo(text, nl=False)
            return
        if self.request.ask:
            self.report.say(text)
            if not questions.confirm(f"Write {shown(path)}?", default=True):
                raise Refused("nothing was written")
        self._write(path, paper, text)

    def _write(self, path: Path, paper: Paper, text: str) -> None:
        """Write the method folder, if one is wanted, and the entry; both or none."""
        written = [path]
        marks = abstracts(path) / f"{path.stem}.txt"
        if self.request.scaffold:
            place = implementations(path)
            scaffold(path.stem, paper, place.parent)
            written.append(place / path.stem)
        try:
            write_file(path, text, force=self.request.force)
        except BaseException:  # Ctrl-C too
            for folder in written[1:]:
                shutil.rmtree(folder)
            raise
        if self.draft.abstract:
            save(path.stem, self.draft.abstract, marks.parent)
            written.append(marks)
        self.report.say(f"Written: {', '.join(map(shown, written))}")
        for line in next_steps(path.stem, written, paper.name or paper.title):
            self.report.say(line)


def no_slug(text: str) -> str | None:
    """Say why a text cannot be the name of an entry, or nothing."""
    if Form(SLUG, "a slug", "sparsegpt").fits(text):
        return None
    return f"'{text}' is not a slug; write lower-case letters and digits, a letter first"


def _named(field: Field, paths: Collection[str]) -> bool:
    """Whether a question can mend one of the fields."""
    own = spell(field.loc)
    return not field.mapping and any(
        path == own or path.startswith((f"{own}.", f"{own}[")) for path in paths
    )


def _asking_for(gaps: Sequence[Field]) -> str:
    width = max(len(field.option) for field in gaps)
    lines = [f"  {field.option:<{width}}  {field.help}" for field in gaps]
    return "\n".join(["an entry needs more than is known; give", *lines])


def _line(candidate: Candidate) -> str:
    facts = candidate.facts
    others = " and others" if len(facts.authors) > 1 else ""
    about = filter(None, ("".join(facts.authors[:1]) + others, str(facts.year or "")))
    return f"{candidate.reference.value}: {facts.title} ({', '.join(about)})"
