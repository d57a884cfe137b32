"""Which words of the taxonomy were put together in a paper, and which never were."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations, product
from urllib.parse import urlencode

from tools.catalog.schema.paper import Paper
from tools.catalog.schema.vocabulary import UNKNOWN, Term, vocabulary
from tools.site.facts import words_of

FIELDS = ("granularity", "criterion", "recovery")
"""What is put together: how regular, by what score, with what repair."""

Cell = tuple[str, ...]
"""A word of each field."""


@dataclass(frozen=True)
class Gap:
    """A combination that no paper has, although each two of its words stand together in some."""

    cell: Cell
    pairs: tuple[int, ...]
    """Papers with granularity and criterion, granularity and recovery, criterion and recovery."""


def terms(field: str) -> list[Term]:
    """List the words of a field but the one for what is not known."""
    return [term for term in vocabulary()[field].terms.values() if term.word != UNKNOWN]


def cells() -> Iterator[Cell]:
    """Yield every combination, in the order of the vocabularies."""
    yield from product(*([term.word for term in terms(field)] for field in FIELDS))


def tried(papers: Iterable[Paper]) -> Counter[Cell]:
    """Count the papers of each combination; one with two words of a field has several."""
    return Counter(cell for paper in papers for cell in product(*_known(paper)))


def complete(papers: Iterable[Paper]) -> int:
    """Count the papers that say something of every field, and so have a combination."""
    return sum(all(_known(paper)) for paper in papers)


def gaps(papers: Iterable[Paper], most: int = 8) -> list[Gap]:
    """List the empty combinations whose three pairs are the most common, these first."""
    listed = list(papers)
    full, pairs = tried(listed), _pairs(listed)
    empty = (cell for cell in cells() if not full[cell])
    found = [
        Gap(cell, tuple(pairs[two] for two in combinations(zip(FIELDS, cell, strict=True), 2)))
        for cell in empty
    ]
    found = [gap for gap in found if all(gap.pairs)]
    return sorted(found, key=lambda gap: -math.prod(gap.pairs))[:most]


def address(cell: Cell) -> str:
    """Return the catalog filtered by a combination."""
    return f"catalog.html?{urlencode(dict(zip(FIELDS, cell, strict=True)))}"


def _pairs(papers: Iterable[Paper]) -> Counter[tuple[tuple[str, str], ...]]:
    """Count the papers that have two words together; a word may belong to two fields."""
    return Counter(
        tuple(zip(fields, words, strict=True))
        for paper in papers
        for fields in combinations(FIELDS, 2)
        for words in product(*_known(paper, fields))
    )


def _known(paper: Paper, fields: Iterable[str] = FIELDS) -> list[list[str]]:
    """The words of each field that are known of a paper."""
    return [[word for word in words_of(paper, field) if word != UNKNOWN] for field in fields]
