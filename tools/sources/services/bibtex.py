"""Facts from BibTeX: names in order, LaTeX decoded, venues looked up."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import bibtexparser
from bibtexparser.bibdatabase import UndefinedString
from bibtexparser.bparser import BibTexParser
from bibtexparser.customization import InvalidName, splitname

from tools.sources.errors import Malformed
from tools.sources.names.text import day, from_latex, pages
from tools.sources.names.venues import venue_facts, year_in
from tools.sources.services.facts import Facts

TEXT_FIELDS = (
    *("title", "journal", "booktitle", "eprint", "year", "date", "month", "abstract"),
    *("volume", "number", "pages", "doi", "url"),
)
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
LONGEST = 20_000
"""Characters. One entry has a few thousand; the parser needs seconds for long concatenations."""
ONE = "keep exactly one entry"


def read_entry(text: str, source: str) -> Facts:
    """Return the facts of a BibTeX text; raises `Malformed` unless it has exactly one entry."""
    entry = _entry(text, source)
    texts = {name: from_latex(entry[name]) for name in TEXT_FIELDS if name in entry}
    if not texts.get("title", "").strip():
        raise Malformed(f"the {source} entry {entry['ID'][:60]} has no title", "add one")
    authors = [name for name in _split(entry.get("author", "")) if name.lower() != "others"]
    others = len(authors) < len(list(_split(entry.get("author", ""))))
    journal = texts.get("journal", "")
    preprint = "arxiv" in journal.lower() or journal == "CoRR"
    where = venue_facts(source, [] if preprint else [texts.get("booktitle", ""), journal])
    notes = (f"the authors of the {source} entry end in 'and others'",) if others else ()
    # BibTeX from arXiv has the identifier in the name of the journal.
    eprint = texts.get("eprint") or journal.removeprefix("arXiv preprint ")
    year = year_in(texts.get("year") or texts.get("date"))
    return Facts(
        source=source,
        title=texts["title"],
        authors=tuple(_name(name, source) for name in authors),
        abstract=texts.get("abstract"),
        published=day(year, _month(texts.get("month", ""))) if where["venue"] else None,
        year=year,
        venue=where["venue"],
        track=where["track"],
        volume=texts.get("volume"),
        number=texts.get("number"),
        pages=pages(texts.get("pages")),
        mentions=(texts.get("doi"), texts.get("url"), eprint),
        notes=(*notes, *where["notes"]),
    )


def _entry(text: str, source: str) -> Mapping[str, str]:
    if len(text) > LONGEST:
        raise Malformed(f"the {source} text has {len(text):,} characters", ONE)
    parser = BibTexParser(common_strings=True, ignore_nonstandard_types=False)
    try:
        entries = bibtexparser.loads(text, parser).entries
    except UndefinedString as error:
        raise Malformed(
            f"the {source} text uses the undefined string {str(error)[:60]}", "define it"
        ) from None
    except (ValueError, RecursionError):
        raise Malformed(f"the {source} text cannot be read", "check its braces") from None
    if len(entries) != 1:
        raise Malformed(f"the {source} text has {len(entries)} readable entries", ONE)
    return {name: " ".join(value.split()) for name, value in entries[0].items()}


def _split(names: str) -> Iterator[str]:
    """Split at `and` outside braces: `{Barnes and Noble}` is one name."""
    depth, start = 0, 0
    for found in re.finditer(r"\\.|[{}]|\sand\s", names):
        depth += {"{": 1, "}": -1}.get(found[0], 0)
        if depth == 0 and found[0].strip() == "and":
            yield names[start : found.start()].strip()
            start = found.end()
    if last := names[start:].strip():
        yield last


def _name(written: str, source: str) -> str:
    """Return a BibTeX name with the first name first."""
    try:
        parts = splitname(written, strict_mode=False)
    except (InvalidName, StopIteration):  # StopIteration: the name ends in a backslash
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
