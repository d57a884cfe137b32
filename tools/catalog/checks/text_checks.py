"""Checks of texts: author names, summaries, and similarity to abstracts."""

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
INVALID_NAMES = (
    (re.compile(r","), "contains a comma", "write 'First Last'"),
    (re.compile(r"\bet\.? al\b", re.IGNORECASE), "is not a name", "list all authors"),
    (re.compile(r"^\S+$"), "is a single word", "write the full name as in the paper"),
)
CAPITALS = re.compile(r"[^\W\d_]{3,}")


def authors(entry: Entry) -> Iterator[Problem]:
    """Find authors that are not names of people with the first name first."""
    for index, name in enumerate(entry.paper.authors or ()):
        problem = next(((m, a) for form, m, a in INVALID_NAMES if form.search(name)), None)
        if problem is None and name == name.upper() and CAPITALS.search(name):
            problem = ("is in capitals", "write only the initials in capitals")
        if problem:
            message, advice = problem
            yield entry.problem("authors", index, message=f"'{name}' {message}", advice=advice)


def summary(entry: Entry) -> Iterator[Problem]:
    """Check the length of the summary, and that advice is based on more than the abstract."""
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
        advice = "remove 'Use it', or read more and update sources.read"
        yield entry.problem("summary", message=message, advice=advice)


def tagline(entry: Entry) -> Iterator[Problem]:
    """Check that a tagline is a sentence."""
    text = entry.paper.tagline
    if text and not (text[0].isupper() and text.endswith(".")):
        advice = "start with a capital letter and end with a full stop"
        yield entry.problem("tagline", message="must be a sentence", advice=advice)


def read(entry: Entry) -> Iterator[Problem]:
    """Check that `sources.read` is given for a paper."""
    if entry.paper.has_paper and entry.paper.sources.read is None:
        message = "has no `read`, which says how closely the paper was read"
        advice = "write abstract, code, tables or paper"
        yield entry.problem("sources", message=message, advice=advice)


def copied_abstracts(catalog: Catalog, abstracts: Path) -> Iterator[Problem]:
    """Find summaries and taglines that share consecutive words with any abstract."""
    owners = {mark: slug for slug, marks in load(abstracts).items() for mark in marks}
    for entry in catalog.entries.values():
        for field in ("tagline", "summary"):
            text = getattr(entry.paper, field) or ""
            marks = zip(runs(text), fingerprint(text), strict=True)
            copied = next(((words, owners[mark]) for words, mark in marks if mark in owners), None)
            if copied:
                message = f"shares {RUN} words with the abstract of {copied[1]}: '{copied[0]}'"
                advice = "write it in your own words"
                yield entry.problem(field, message=message, advice=advice)


def orphaned_fingerprints(catalog: Catalog, abstracts: Path) -> Iterator[Problem]:
    """Find fingerprints of abstracts without an entry."""
    known = {document.path.stem for document in catalog.documents}
    for path in sorted(abstracts.glob("[!.]*")):
        if path.suffix != ".txt" or path.stem not in known:
            advice = "name it <slug>.txt, or remove it"
            yield Problem(path, 1, "", "does not belong to an entry", advice)


CHECKS: tuple[Callable[[Entry], Iterator[Problem]], ...] = (authors, tagline, summary, read)
