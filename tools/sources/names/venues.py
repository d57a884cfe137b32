"""Venues: from the names in sources to terms of the vocabulary."""

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
    # Years, ordinals, volumes, and words that do not distinguish venues.
    r"(\d+(st|nd|rd|th)?|(twenty|thirty|forty|fifty|sixty)? ?(first|second|third|fourth|fifth"
    r"|sixth|seventh|eighth|ninth)|\w+teenth|tenth|eleventh|twelfth|\w+tieth"
    r"|proceedings|proc|the|of|on|in|at|for|and|by|annual|conference|volume|vol|part|main|long"
    r"|short|papers?|poster|oral|spotlight|notable|top|talk|accepted?|regular|track|datasets"
    r"|benchmarks|advances|ieee|cvf|ccf|human language technologies)"
)
PREPRINTS = ("arxiv", "preprint", "arxiv preprint", "corr")
NEVER = r"submi|reject|withdraw|review|pending|desk|retract"


class Venue(NamedTuple):
    """A venue as a vocabulary term, and its track."""

    venue: str
    track: str | None


def find_venue(written: str) -> Venue | None:
    """Return the venue of a name, or None if the vocabulary has no term for it.

    The whole name must match: "International Conference on Computational Linguistics and
    Intelligent Text Processing" is not COLING.
    """
    text = fold(written).replace(":", " ")
    track = next((name for name, words in TRACKS if re.search(rf"\b{words}\b", text)), None)
    text = re.sub(rf"\b({'|'.join(words for _, words in TRACKS)})\b", " ", text)
    if findings := re.search(r"\bfindings\b", text):
        text = re.sub(r"\b(findings|of|the|association for computational linguistics)\b", " ", text)
    core = _core(text)
    # A workshop has a name of its own besides that of the conference: "ICLR 2025 Workshop SLLM".
    term = _names().get(core) or _inside(core, whole=track != "workshop")
    if term is None or term.word.endswith("-findings"):
        return None
    if findings:
        word = f"{term.word}-findings"
        return Venue(word, "findings") if word in vocabulary()["venues"].terms else None
    return Venue(term.word, "journal" if term.journal else track or "main")


def venue_term(written: str) -> str:
    """Return the vocabulary term of a venue, `arxiv` for a preprint, or an empty text."""
    if _core(fold(written)) in PREPRINTS:
        return "arxiv"
    found = find_venue(written)
    return found.venue if found else ""


class VenueFacts(TypedDict):
    """The fields of `Facts` that depend on the venue."""

    venue: str | None
    track: str | None
    notes: tuple[str, ...]


def venue_facts(source: str, names: Iterable[str]) -> VenueFacts:
    """Return the venue that a source's names refer to, or a note if it is unknown."""
    written = [name for name in names if name]
    for name in written:
        if found := find_venue(name):
            return VenueFacts(venue=found.venue, track=found.track, notes=())
    notes = [
        f"{source} has the venue '{name[:150]}', for which vocabulary/venues.yaml has no term"
        for name in written[:1]
    ]
    return VenueFacts(venue=None, track=None, notes=tuple(notes))


def accepted(venue: str, venue_id: str) -> Venue | None:
    """Return the venue of an OpenReview record, or None unless the paper was accepted."""
    decision = r"\b(poster|oral|spotlight|notable|talk|accept(ed)?|main|findings|regular)\b"
    if re.search(NEVER, f"{venue} {venue_id}", re.IGNORECASE):
        return None
    return find_venue(venue) if re.search(decision, venue, re.IGNORECASE) else None


def year_in(*texts: str | None) -> int | None:
    """Return the first year in the texts."""
    for text in texts:
        if found := re.search(r"(?<!\d)(19[5-9]\d|20\d\d)(?!\d)", text or ""):
            return int(found[1])
    return None


def _core(text: str) -> str:
    """Remove the words that do not distinguish venues."""
    words = re.sub(rf"\b{NOISE.pattern}\b", " ", text)
    return " ".join(words.split())


@cache
def _names() -> dict[str, Term]:
    terms = [t for t in vocabulary()["venues"].terms.values() if not t.word.endswith("-findings")]
    names = [(name, t) for t in terms for name in (t.word, t.label, t.definition, *t.synonyms)]
    return {core: term for name, term in names if (core := _core(fold(name).replace(":", " ")))}


def _inside(core: str, whole: bool) -> Term | None:
    """Find the term named in `core`; with `whole`, nothing else may remain."""
    left, found = core, []
    for name in sorted(_names(), key=len, reverse=True):
        if re.search(rf"\b{re.escape(name)}\b", left):
            left = re.sub(rf"\b{re.escape(name)}\b", " ", left)
            found.append(_names()[name])
    agree = len({term.word for term in found}) == 1
    return found[0] if agree and not (whole and left.strip()) else None
