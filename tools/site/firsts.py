"""The words of the catalog over the years: when each came up first, and how often since."""

from __future__ import annotations

import html
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from markupsafe import Markup

from tools.catalog.schema.paper import Paper
from tools.catalog.schema.vocabulary import UNKNOWN, Term, vocabulary
from tools.site.facts import first_public, words_of
from tools.site.figures import NARROW, Width, svg, text

FIELDS = (
    ("granularity", "Granularity"),
    ("criterion", "Criterion"),
    ("recovery", "Recovery"),
    ("when", "Decided"),
    ("architecture", "Architecture"),
)
"""What is followed over the years, and how it is called."""


@dataclass(frozen=True)
class Line:
    """One word with the number of papers that it is said of, by year."""

    field: str
    heading: str
    term: Term
    counts: Mapping[int, int]
    slugs: tuple[str, ...]
    """The papers of its first year."""

    @property
    def first(self) -> int:
        """The year in which it came up."""
        return min(self.counts)


def lines(papers: Mapping[str, Paper]) -> list[Line]:
    """List the words that are said of a paper, in the order of the vocabulary.

    Baselines are left out: their entries say how a line of comparison is drawn today.
    """
    said: dict[tuple[str, str], list[str]] = defaultdict(list)
    for slug, paper in papers.items():
        for field, _ in FIELDS if paper.kind != "baseline" else ():
            for word in words_of(paper, field):
                said[field, word].append(slug)
    return [
        _line(field, heading, term, said[field, word], papers)
        for field, heading in FIELDS
        for word, term in vocabulary()[field].terms.items()
        if word != UNKNOWN and (field, word) in said
    ]


def _line(
    field: str, heading: str, term: Term, slugs: Sequence[str], papers: Mapping[str, Paper]
) -> Line:
    when = {slug: first_public(papers[slug]) for slug in slugs}
    counts = Counter(year for year, _ in when.values())
    early = sorted((s for s in slugs if when[s][0] == min(counts)), key=lambda slug: when[slug])
    return Line(field, heading, term, counts, tuple(early))


def drawn(found: Sequence[Line], width: Width) -> Markup:
    """Draw a row a word and a column a year; the area of a dot is the number of papers."""
    narrow = width is NARROW
    left, step, head = (112, 17, 16) if narrow else (140, 22, 20)
    at = dict(_columns(sorted({year for line in found for year in line.counts}), left, width))
    most = max((count for line in found for count in line.counts.values()), default=1)
    parts, y = [], 0.0
    for heading, rows in groupby(found, key=lambda line: line.heading):
        y += head
        parts.append(_heading(heading, y - 4, width))
        parts += [text(x, y - 4, f"{year % 100:02}" if narrow else str(year), "middle", width)
                  for year, x in at.items()]  # fmt: skip
        for line in rows:
            middle = y + step / 2
            parts.append(f'<path class="is-rule" d="M{left} {middle:g}H{width.pixels}"/>')
            parts.append(text(left - 10, middle + width.font * 0.36, line.term.label, "end", width))
            parts += [
                _dot(line, year, at[year], middle, step / 2 * math.sqrt(count / most))
                for year, count in sorted(line.counts.items())
            ]
            y += step
        y += 6
    label = "Words of the catalog by the year in which papers they are said of were first public"
    return svg(width.pixels, y, label, "".join(parts))


def _columns(years: Sequence[int], left: int, width: Width) -> Iterator[tuple[int, float]]:
    """Yield the middle of each year's column; where years are left out there is more room."""
    gaps = [0, *(later - earlier > 1 for earlier, later in pairwise(years))]
    across = (width.pixels - left) / (len(years) + sum(gaps) / 2 or 1)
    x = left + across / 2
    for year, gap in zip(years, gaps, strict=False):
        x += across / 2 * gap
        yield year, x
        x += across


def _heading(words: str, y: float, width: Width) -> str:
    return f'<text class="is-heading" x="0" y="{y:.1f}" font-size="{width.font}">{words}</text>'


def _dot(line: Line, year: int, x: float, y: float, radius: float) -> str:
    kind = "is-new-word" if year == line.first else "is-share"
    count = line.counts[year]
    said = f"{line.term.label}, {year}: {count} {'paper' if count == 1 else 'papers'}"
    return (
        f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{max(radius, 2.2):.1f}">'
        f"<title>{html.escape(said)}</title></circle>"
    )
