"""BibTeX, read as facts: names put in order, LaTeX decoded, venues looked up."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import bibtexparser
from bibtexparser.bibdatabase import BibDatabase, UndefinedString
from bibtexparser.bparser import BibTexParser
from bibtexparser.customization import InvalidName, splitname

from tools.sources.names.text import day, from_latex, pages
from tools.sources.names.venues import venue_facts, year_in
from tools.sources.services.facts import MOST_AUTHORS, Facts
from tools.sources.web.errors import Malformed

SHOWN = (
    *("title", "journal", "booktitle", "eprint", "year", "date", "month", "abstract"),
    *("volume", "number", "pages", "doi", "url"),
)
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
SIZE = 200_000
"""Characters of the longest text that is read, and again of what its strings may add to it."""
MARKS = "{=#@"
MOST_MARKS = 3_000
"""Braces, fields, concatenations and entries, for each of which the parser takes its time."""
ONE = "leave exactly one entry"


def read_entry(text: str, source: str) -> Facts:
    """Return what the one entry of a BibTeX text says; raises `Malformed` unless there is one."""
    entry = _entry(text, source)
    shown = {name: from_latex(entry[name]) for name in SHOWN if name in entry}
    if not shown.get("title", "").strip():
        raise Malformed(f"the {source} entry {entry['ID'][:60]} has no title", "add it")
    authors = [name for name in _split(entry.get("author", "")) if name.lower() != "others"]
    if len(authors) > MOST_AUTHORS:
        raise Malformed(f"the {source} entry has more than {MOST_AUTHORS:,} authors", ONE)
    others = len(authors) < len(list(_split(entry.get("author", ""))))
    journal = shown.get("journal", "")
    preprint = "arxiv" in journal.lower() or journal == "CoRR"
    where = venue_facts(source, [] if preprint else [shown.get("booktitle", ""), journal])
    notes = (f"the authors of the {source} entry end in 'and others'",) if others else ()
    # Exports of arXiv keep the identifier in the name of the journal.
    eprint = shown.get("eprint") or journal.removeprefix("arXiv preprint ")
    year = year_in(shown.get("year") or shown.get("date"))
    return Facts(
        source=source,
        title=shown["title"],
        authors=tuple(_name(name, source) for name in authors),
        abstract=shown.get("abstract"),
        published=day(year, _month(shown.get("month", ""))) if where["venue"] else None,
        year=year,
        venue=where["venue"],
        track=where["track"],
        volume=shown.get("volume"),
        number=shown.get("number"),
        pages=pages(shown.get("pages")),
        mentions=(shown.get("doi"), shown.get("url"), eprint),
        notes=(*notes, *where["notes"]),
    )


class _Database(BibDatabase):
    """Strings of strings of strings double; these end where they have made `SIZE` characters."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.load_common_strings()
        self.source = source
        self.made = 0

    def expand_string(self, name: str) -> str:
        """Return what stands for a string; raises `Malformed` where all make too much."""
        text: str = super().expand_string(name)
        self.made += len(text) + 1  # an empty one takes its time too
        if self.made > SIZE:
            grown = f"the strings of the {self.source} text make more than {SIZE:,} characters"
            raise Malformed(grown, "write them out")
        return text


def _entry(text: str, source: str) -> Mapping[str, str]:
    if len(text) > SIZE:
        raise Malformed(f"a {source} text of {len(text):,} characters is no entry", ONE)
    if sum(map(text.count, MARKS)) > MOST_MARKS:
        raise Malformed(
            f"the {source} text has more than {MOST_MARKS:,} of the characters {' '.join(MARKS)}",
            f"{ONE} and write its values without #",
        )
    parser = BibTexParser(common_strings=False, ignore_nonstandard_types=False)
    parser.bib_database = _Database(source)
    try:
        entries = bibtexparser.loads(text, parser).entries
    except UndefinedString as error:
        raise Malformed(
            f"the {source} text uses the string {str(error)[:60]}", "write it out"
        ) from None
    except (ValueError, RecursionError):
        raise Malformed(f"the {source} text cannot be read", "check its braces") from None
    if len(entries) != 1:
        raise Malformed(f"the {source} text holds {len(entries)} readable entries", ONE)
    return {name: " ".join(value.split()) for name, value in entries[0].items()}


def _split(names: str) -> Iterator[str]:
    """Split at each `and` outside braces: `{Barnes and Noble}` is one name."""
    depth, start = 0, 0
    for found in re.finditer(r"\\.|[{}]|\sand\s", names):
        depth += {"{": 1, "}": -1}.get(found[0], 0)
        if depth == 0 and found[0].strip() == "and":
            yield names[start : found.start()].strip()
            start = found.end()
    if last := names[start:].strip():
        yield last


def _name(written: str, source: str) -> str:
    """Write a name of BibTeX's three forms first name first."""
    try:
        parts = splitname(written, strict_mode=False)
    except (InvalidName, StopIteration):  # it ends in a backslash
        raise Malformed(
            f"the name '{written[:60]}' of the {source} entry cannot be read",
            "write it as Last, First",
        ) from None
    inner = (from_latex(" ".join(parts.get(part, []))) for part in ("first", "von", "last", "jr"))
    return " ".join(filter(None, (part.strip() for part in inner)))


def _month(written: str) -> int | None:
    plain = written.strip().lower()
    if plain.isdecimal() and len(plain) < 3:
        return int(plain)
    return MONTHS.index(plain[:3]) + 1 if plain[:3] in MONTHS else None
