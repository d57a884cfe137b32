"""Checks of what is written in words: names of people, summaries, and that they are our own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from tools.catalog.documents.diagnostics import Problem
from tools.catalog.entries.abstracts import RUN, fingerprint, load, runs
from tools.catalog.entries.loader import Catalog, Entry

SENTENCES = range(2, 5)
WORDS = range(25, 91)
ADVICE = re.compile(r"\b[Uu]se (it|them|this)\b")
NO_NAMES = (
    (re.compile(r","), "is not first name first", "write 'First Last'"),
    (re.compile(r"\bet\.? al\b", re.IGNORECASE), "stands for others", "list all authors"),
    (re.compile(r"^\S+$"), "is one word", "write the full name as the paper has it"),
)
CAPITALS = re.compile(r"[^\W\d_]{3,}")


def authors(entry: Entry) -> Iterator[Problem]:
    """Names are those of people, first name first, as the paper writes them."""
    for index, name in enumerate(entry.paper.authors or ()):
        flaw = next(((what, do) for form, what, do in NO_NAMES if form.search(name)), None)
        if flaw is None and name == name.upper() and CAPITALS.search(name):
            flaw = ("is all in capitals", "write it as a name")
        if flaw:
            what, advice = flaw
            yield entry.problem("authors", index, message=f"'{name}' {what}", advice=advice)


def summary(entry: Entry) -> Iterator[Problem]:
    """A summary has a length that is read, and advises where more than an abstract was read."""
    text = entry.paper.summary
    sentences = len(re.findall(r"[.!?](?=\s+[A-Z0-9\"'(]|$)", text))
    words = len(text.split())
    if sentences not in SENTENCES:
        message = f"has {sentences} sentence{'s' * (sentences != 1)}"
        advice = f"write {SENTENCES[0]} to {SENTENCES[-1]}"
        yield entry.problem("summary", message=message, advice=advice)
    if words not in WORDS:
        advice = f"write {WORDS[0]} to {WORDS[-1]}"
        yield entry.problem("summary", message=f"has {words} words", advice=advice)
    if entry.paper.sources.read == "abstract" and ADVICE.search(text):
        message = "gives advice, but only the abstract was read"
        advice = "leave out 'Use it', or read more and say so in sources.read"
        yield entry.problem("summary", message=message, advice=advice)


def read(entry: Entry) -> Iterator[Problem]:
    """It is said how deep a paper was read."""
    if entry.paper.has_paper and entry.paper.sources.read is None:
        advice = "write abstract, code, tables or paper"
        yield entry.problem("sources", message="lacks read, how deep it was read", advice=advice)


def copies(catalog: Catalog, abstracts: Path) -> Iterator[Problem]:
    """No summary shares a run of words with an abstract, its own or another's."""
    owners = {mark: slug for slug, marks in load(abstracts).items() for mark in marks}
    for entry in catalog.entries.values():
        text = entry.paper.summary
        marks = zip(runs(text), fingerprint(text), strict=True)
        copied = next(((words, owners[mark]) for words, mark in marks if mark in owners), None)
        if copied:
            message = f"has {RUN} words of the abstract of {copied[1]}: '{copied[0]}'"
            yield entry.problem("summary", message=message, advice="say it in your own words")


def orphans(catalog: Catalog, abstracts: Path) -> Iterator[Problem]:
    """Each stored abstract belongs to an entry."""
    known = {document.path.stem for document in catalog.documents}
    for path in sorted(abstracts.glob("[!.]*")):
        if path.suffix != ".txt" or path.stem not in known:
            yield Problem(path, 1, "", "belongs to no entry", "name it <slug>.txt, or remove it")


CHECKS: tuple[Callable[[Entry], Iterator[Problem]], ...] = (authors, summary, read)
