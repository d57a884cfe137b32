"""Venues: from the names that sources give them to words of the vocabulary."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple, TypedDict

from tools.catalog.schema.vocabulary import Term, fold, vocabulary

TRACKS = (
    ("workshop", r"workshops?"),
    ("demo", r"((system )?demonstrations?|demos?)"),
    ("industry", r"industry( track)?"),
)
NOISE = re.compile(
    # Years, ordinals and numbers of volumes; what a conference was like for the paper.
    r"(\d+(st|nd|rd|th)?|(twenty|thirty|forty|fifty|sixty)? ?(first|second|third|fourth|fifth"
    r"|sixth|seventh|eighth|ninth)|\w+teenth|tenth|eleventh|twelfth|\w+tieth"
    r"|proceedings|proc|the|of|on|in|at|for|and|by|annual|conference|volume|vol|part|main|long"
    r"|short|papers?|poster|oral|spotlight|notable|top|talk|accepted?|regular|track|datasets"
    r"|benchmarks|advances|ieee|cvf|ccf|human language technologies|joint)"
)
ACCEPTED = r"(?<!not )(?<!if )(?<!until )\b(accepted|to appear|in press|camera[- ]?ready)\b"
NEVER = r"submi|reject|withdraw|review|pending|desk|retract"


class Venue(NamedTuple):
    """A venue in the catalog's words."""

    venue: str
    track: str | None


def find_venue(written: str) -> Venue | None:
    """Return the venue that a name means; None where the vocabulary has no word for it.

    A name must be accounted for as a whole: "International Conference on Computational Linguistics
    and Intelligent Text Processing" is not COLING.
    """
    text = fold(written).replace(":", " ")
    track = next((name for name, words in TRACKS if re.search(rf"\b{words}\b", text)), None)
    text = re.sub(rf"\b({'|'.join(words for _, words in TRACKS)})\b", " ", text)
    if findings := re.search(r"\bfindings\b", text):
        text = re.sub(r"\b(findings|of|the|association for computational linguistics)\b", " ", text)
    core = _core(text)
    # "ICLR 2025 Workshop SLLM": beside a workshop's own name stands that of its conference.
    term = _names().get(core) or _inside(core, whole=track != "workshop")
    if term is None or term.word.endswith("-findings"):
        return None
    if findings:
        word = f"{term.word}-findings"
        return Venue(word, "findings") if word in vocabulary()["venues"].terms else None
    return Venue(term.word, "journal" if term.journal else track or "main")


class VenueFacts(TypedDict):
    """The fields of `Facts` that the names of a venue give."""

    venue: str | None
    track: str | None
    notes: tuple[str, ...]


def venue_facts(source: str, names: Iterable[str]) -> VenueFacts:
    """Return what the names a source gives to one venue mean; an unknown one is a note."""
    written = [name for name in names if name]
    for name in written:
        if found := find_venue(name):
            return VenueFacts(venue=found.venue, track=found.track, notes=())
    notes = [
        f"{source} names the venue '{name[:150]}', for which vocabulary/venues.yaml has no word"
        for name in written[:1]
    ]
    return VenueFacts(venue=None, track=None, notes=tuple(notes))


def accepted(venue: str, venue_id: str) -> Venue | None:
    """Return the venue of an OpenReview record, only where it says that it accepted the paper."""
    decision = r"\b(poster|oral|spotlight|notable|talk|accept(ed)?|main|findings|regular)\b"
    if re.search(NEVER, f"{venue} {venue_id}", re.IGNORECASE):
        return None
    return find_venue(venue) if re.search(decision, venue, re.IGNORECASE) else None


def announced(comment: str) -> bool:
    """Whether authors say in a comment on arXiv that a venue took their paper."""
    if re.search(ACCEPTED, comment, re.IGNORECASE):
        return True
    venues = vocabulary()["venues"].terms.values()
    names = {name for term in venues for name in (term.label, *map(str.upper, term.synonyms))}
    short = "|".join(re.escape(name) for name in names if " " not in name)
    long = "|".join(re.escape(fold(term.definition)) for term in venues)
    named = re.search(rf"(?<!\w)({short})(?![a-z])", comment) or re.search(long, fold(comment))
    return bool(named) and not re.search(NEVER, comment, re.IGNORECASE)


def year_in(*texts: str | None) -> int | None:
    """Return the first year that texts name."""
    for text in texts:
        if found := re.search(r"(?<!\d)(19[5-9]\d|20\d\d)(?!\d)", text or ""):
            return int(found[1])
    return None


def _core(text: str) -> str:
    """Drop the words that do not tell one venue from another."""
    words = re.sub(rf"\b{NOISE.pattern}\b", " ", text)
    return " ".join(words.split())


@cache
def _names() -> dict[str, Term]:
    terms = [t for t in vocabulary()["venues"].terms.values() if not t.word.endswith("-findings")]
    names = [(name, t) for t in terms for name in (t.word, t.label, t.definition, *t.synonyms)]
    return {core: term for name, term in names if (core := _core(fold(name).replace(":", " ")))}


def _inside(core: str, whole: bool) -> Term | None:
    """Find the term that names in `core` mean; `whole` asks that nothing else be left."""
    left, found = core, []
    for name in sorted(_names(), key=len, reverse=True):
        if re.search(rf"\b{re.escape(name)}\b", left):
            left = re.sub(rf"\b{re.escape(name)}\b", " ", left)
            found.append(_names()[name])
    agree = len({term.word for term in found}) == 1
    return found[0] if agree and not (whole and left.strip()) else None
