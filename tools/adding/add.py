"""Adding one paper: from the options of the command to a written entry."""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import typer

from tools.adding import questions
from tools.adding.checks import (
    abstracts,
    build_paper,
    check_entry,
    implementations,
    known_entries,
    today,
)
from tools.adding.command import connect
from tools.adding.draft import OWN_WORDS, YOU, Draft, EntryError, Value, is_copied
from tools.adding.draft_input import (
    add_file,
    add_given_facts,
    add_reference,
    add_reference_text,
    add_source_facts,
)
from tools.adding.fields import FIELDS, Field
from tools.adding.messages import next_steps, notes, say, show_draft, shown
from tools.adding.proposals import propose_name, propose_slugs
from tools.adding.saved_answers import answers_path, load_answers, save_answers
from tools.catalog.documents.yaml_reader import field_path
from tools.catalog.entries.abstracts import save
from tools.catalog.entries.files import write_file
from tools.catalog.entries.loader import PAPERS, read_catalog
from tools.catalog.entries.writer import canonical
from tools.catalog.schema.identifiers import SLUG, Form
from tools.catalog.schema.paper import Paper
from tools.scaffold import scaffold
from tools.sources.lookup.identification import identify
from tools.sources.names.references import Reference, Unidentified
from tools.sources.resolve import Candidate, candidates, resolve
from tools.sources.services.facts import Facts

PLACE = "Identifier (arXiv, DOI, OpenReview, ACL Anthology, PMLR) or page address of the paper"
BY_HAND = "enter the paper by hand with --manual"


@dataclass(kw_only=True)
class PaperAdder:
    """Adds one paper to the catalog; the fields are the options of `add_paper.py`."""

    paper: str = ""
    """Identifier, page address or title."""
    given: Mapping[str, Value]
    """Facts by flag."""
    slug: str = ""
    from_file: Path | None = None
    manual: bool = False
    ask: bool = False
    """Whether to ask questions on the terminal."""
    dry_run: bool = False
    force: bool = False
    scaffold: bool = False
    contact: str | None = None
    folder: Path = PAPERS
    """The folder of the entries."""

    def __post_init__(self) -> None:
        self.catalog = read_catalog(self.folder)
        self.draft = Draft()
        self.saved = answers_path(self.folder, self.paper or str(self.from_file or ""))

    def run(self) -> None:
        """Add the paper; raises `EntryError`, or an error of the sources, disk or scaffold."""
        if self.slug and (problem := self._slug_problem(self.slug)):
            raise EntryError(problem)
        try:
            self._run()
        except BaseException:  # including Ctrl-C
            if self.saved.exists() and self.draft.answered:
                say("Your answers are saved. Run the same command to continue.")
            raise
        if not self.dry_run:
            self.saved.unlink(missing_ok=True)
        elif self.ask and self.saved.exists():
            say("Run the command without --dry-run to write this entry with your saved answers.")

    def _run(self) -> None:
        self._restore_answers()
        start = self._begin()
        self._reject_known()
        if start and not self.manual:
            self._resolve(start)
            self._reject_known()
        if self.ask:
            self.draft.save = partial(save_answers, self.draft, self.saved)
            self._ask_source_facts()
        if self.draft.prunes and (name := propose_name(self.draft.data.get("title", ""))):
            self.draft.offer(("name",), name, "title")
        show_draft(self.draft)
        if self.ask:
            questions.ask_reader_facts(self.draft)
        self._reject_gaps()
        slug = self._slug()
        while not self._finish(slug):
            pass

    def _restore_answers(self) -> None:
        """Add the answers of an interrupted session if the user agrees."""
        answers = load_answers(self.saved) if self.ask else {}
        about = answers.get("title") or self.paper or "a paper without a title"
        question = f"Continue with the saved answers about {about}?"
        if answers and questions.confirm(question, default=True):
            for flag, value in answers.items():
                self.draft.answered.add(flag)
                if value and flag not in self.given:
                    self.draft.put(FIELDS[flag].loc, value, YOU)

    def _begin(self) -> Reference | Facts | None:
        """Add the given facts to the draft; return what to look up at the sources, if anything."""
        add_given_facts(self.draft, self.given)
        if self.from_file:
            start = add_file(self.draft, self.from_file)
            if isinstance(start, Facts) and self.manual:
                notes("Notes", start.notes)
            return start
        if not self.paper or self.manual:
            return add_reference_text(self.draft, self.paper) if self.paper else None
        reference = identify(self.paper)
        if reference.scheme != "title":
            add_reference_text(self.draft, self.paper)
        return reference

    def _reject_known(self) -> None:
        """Raise `EntryError` if the catalog has a paper with this identifier or title."""
        for slug, reason in known_entries(self.draft, self.catalog):
            if not self.force:
                raise EntryError(
                    f"the catalog already has this paper as {slug} ({reason}); edit "
                    f"{shown(self._path(slug))}, run tools/update_paper.py {slug}, or use "
                    "--force if it is a different paper"
                )

    def _resolve(self, start: Reference | Facts) -> None:
        with connect(self.contact) as client:
            if isinstance(start, Reference) and start.scheme == "title":
                start = self._choose(start.value, candidates(start.value, client))
                add_reference(self.draft, start)
                self._reject_known()
            resolved = resolve(start, client)
        differences = add_source_facts(self.draft, resolved)
        notes("Sources disagree", (*resolved.disagreements, *differences))
        notes("Notes", resolved.notes)

    def _choose(self, title: str, found: list[Candidate]) -> Reference:
        """Let the user choose the paper of a title; raise `EntryError` if there is no user."""
        if not found:
            raise EntryError(
                f"no source knows a paper called '{title}'; give an identifier, or {BY_HAND}"
            )
        lines = [_line(candidate) for candidate in found]
        if not self.ask:
            notes("Papers with a similar title", lines)
            raise EntryError(
                "a title alone does not identify a paper; give the identifier of the right one, "
                f"such as {found[0].reference.value}"
            )
        chosen = questions.choose("Which paper is it?", list(zip(lines, found, strict=True)))
        if chosen is None:
            raise EntryError(f"no paper was chosen; give an identifier, or {BY_HAND}")
        return chosen.reference

    def _ask_source_facts(self) -> None:
        """Ask for the facts that the sources usually provide."""
        draft = self.draft
        by_hand = self.manual or not draft.has_source
        if not draft.has_place:
            add_reference_text(draft, questions.ask(PLACE, self._place_problem))
        questions.ask_each(draft, ["title", "author", "year", *(["venue"] if by_hand else [])])
        self._reject_known()
        if not draft.has_source:
            questions.ask_each(draft, ["source"])

    def _place_problem(self, text: str) -> str | None:
        """Return why an identifier or address cannot be used, or None."""
        probe = Draft()
        try:
            reference = add_reference_text(probe, text)
        except Unidentified as error:
            return str(error)
        if reference and reference.scheme == "title":
            return "This is a title. Enter an identifier or a page address."
        known = known_entries(probe, self.catalog)
        if known and not self.force:
            slug, reason = known[0]
            return f"The catalog already has this paper as {slug} ({reason})."
        return None

    def _reject_gaps(self) -> None:
        if gaps := list(self.draft.missing()):
            raise EntryError(_missing_facts(gaps))
        for flag in OWN_WORDS:
            if is_copied(self.draft.value(flag) or "", self.draft.abstract):
                raise EntryError(f"the {flag} repeats the abstract; write it in your own words")

    def _slug(self) -> str:
        """Return the given slug, the user's choice, or the best unused proposal."""
        if self.slug:
            return self.slug
        data, file = self.draft.data, self.from_file
        year = int(data["year"]) if re.fullmatch(r"\d{4}", str(data["year"])) else None
        proposed = list(propose_slugs(data["title"], data["authors"], year))
        if file and file.suffix in (".yaml", ".yml"):
            proposed.insert(0, file.stem)
        unused = [slug for slug in proposed if not self._slug_problem(slug)]
        if self.ask:
            best = unused[0] if unused else ""
            return questions.ask("Slug (short name of the entry)", self._slug_problem, best)
        if not unused:
            which = f"unused slug ({', '.join(proposed)} exist)" if proposed else "slug"
            raise EntryError(f"the title suggests no {which}; give one with --slug")
        return unused[0]

    def _path(self, slug: str) -> Path:
        """Return the file of an entry."""
        return self.folder / f"{slug}.yaml"

    def _slug_problem(self, slug: str) -> str | None:
        if problem := slug_problem(slug):
            return problem
        replaces = self.force and slug == self.slug
        if self._path(slug).exists() and not replaces:
            return f"{shown(self._path(slug))} exists already; choose another slug"
        return None

    def _require_fidelity(self, path: Path) -> None:
        """Ask for `fidelity` if the method has or gets a folder."""
        folder = implementations(path) / path.stem
        if self.draft.value("fidelity") is None and (folder.exists() or self.scaffold):
            if not self.ask:
                raise EntryError(_missing_facts([FIELDS["fidelity"]]))
            questions.ask_each(self.draft, ["fidelity"])

    def _finish(self, slug: str) -> bool:
        """Write the entry, or ask again for its invalid facts; return whether it was written."""
        try:
            self._write_checked(slug)
        except EntryError as error:
            invalid = [
                flag
                for flag, field in FIELDS.items()
                if _is_among(field, error.fields) and _fits_on_a_line(self.draft.get(field.loc))
            ]
            if not self.ask or not invalid:
                raise
            say(str(error), fg="red")
            questions.ask_again(self.draft, invalid)
            return False
        return True

    def _write_checked(self, slug: str) -> None:
        """Validate the entry, check it with the rest of the catalog, and write it."""
        path = self._path(slug)
        self._require_fidelity(path)
        notes("Listed as unverified", self.draft.unverified())
        self.draft.complete(today())
        paper = build_paper(self.draft, path)
        text = canonical(self.draft.data)
        planned = paper.model_copy(update={"fidelity": None}) if self.scaffold else paper
        notes("Warnings", check_entry(self.catalog, path, planned, text))
        if self.dry_run:
            typer.echo(text, nl=False)
            return
        if self.ask:
            say(text)
            if not questions.confirm(f"Write {shown(path)}?", default=True):
                raise EntryError("nothing was written")
        self._write(path, paper, text)

    def _write(self, path: Path, paper: Paper, text: str) -> None:
        """Write the entry, its abstract's fingerprint and, with `--scaffold`, the method folder.

        An error leaves none of them behind.
        """
        written = [path]
        fingerprints = abstracts(path) / f"{path.stem}.txt"
        had_fingerprints = fingerprints.exists()
        if self.scaffold:
            methods = implementations(path)
            scaffold(path.stem, paper, methods.parent)
            written.append(methods / path.stem)
        try:
            save(path.stem, self.draft.abstract, fingerprints.parent)
            write_file(path, text, force=self.force and path.stem == self.slug)
        except BaseException:  # including Ctrl-C
            for folder in written[1:]:
                shutil.rmtree(folder)
            if fingerprints.exists() and not had_fingerprints:
                fingerprints.unlink()
            raise
        if fingerprints.exists():
            written.append(fingerprints)
        say(f"Written: {', '.join(map(shown, written))}")
        for line in next_steps(path.stem, written, paper.name or paper.title):
            say(line)


def slug_problem(text: str) -> str | None:
    """Return why a text cannot be the name of an entry, or None."""
    if Form(SLUG, "a slug", "sparsegpt").fits(text):
        return None
    return f"'{text}' is not a slug; use lower-case letters and digits, starting with a letter"


def _is_among(field: Field, paths: Collection[str]) -> bool:
    """Whether a question about a field can fix one of the invalid fields."""
    own = field_path(field.loc)
    return any(path == own or path.startswith((f"{own}.", f"{own}[")) for path in paths)


def _fits_on_a_line(value: object) -> bool:
    """Whether a value can be edited as an answer: no list, or a list of texts."""
    return not isinstance(value, list) or all(isinstance(one, str) for one in value)


def _missing_facts(gaps: Sequence[Field]) -> str:
    width = max(len(field.option) for field in gaps)
    lines = [f"  {field.option:<{width}}  {field.help}" for field in gaps]
    return "\n".join(["required facts are missing; add these options:", *lines])


def _line(candidate: Candidate) -> str:
    facts = candidate.facts
    others = " and others" if len(facts.authors) > 1 else ""
    about = filter(None, ("".join(facts.authors[:1]) + others, str(facts.year or "")))
    return f"{candidate.reference.value}: {facts.title} ({', '.join(about)})"
