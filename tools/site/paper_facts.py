"""Facts about a paper that several pages show: vocabulary words, date and code."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from tools.catalog.exports.awesome_list import date
from tools.catalog.schema.addresses import best_code
from tools.catalog.schema.paper import Paper

FACETS = (
    ("granularity", "Granularity"),
    ("prunes", "Removes"),
    ("criterion", "Criterion"),
    ("calibration", "Calibration"),
    ("recovery", "Recovery"),
    ("allocation", "Allocation"),
    ("when", "When pruned"),
    ("combines", "Combined with"),
    ("architecture", "Architecture"),
    ("topic", "Topic"),
    ("read", "Depth of reading"),
)
"""Fields of the vocabulary that describe a paper, each with its label."""
CODE = {"official": "by the authors", "third party": "by others", "none known": "no code is known"}
"""Availability of the code of a paper, each with its meaning."""


def words_of(paper: Paper, field: str) -> tuple[str, ...]:
    """Return the words of a paper for one field of the vocabulary; empty if it has none."""
    value = paper.sources.read if field == "read" else getattr(paper.taxonomy, field, None)
    return (value,) if isinstance(value, str) else tuple(value or ())


def first_public(paper: Paper) -> tuple[int, float]:
    """Return year and month (from 0, with the day as a fraction) of the first public version.

    If only the year is known, the month is the middle of the year. Without a date, both are 0.
    """
    parts = [int(part) for part in re.findall(r"\d+", date(paper))]
    if not parts:
        return 0, 0.0
    month = parts[1] - 1 if len(parts) > 1 else 5.5
    day = (parts[2] - 1) / 31 if len(parts) > 2 else 0.0
    return parts[0], month + day


def newest_first(slugs: Iterable[str], papers: Mapping[str, Paper]) -> list[str]:
    """Sort papers by the date of their first public version, the latest first."""
    return sorted(slugs, key=lambda slug: first_public(papers[slug]), reverse=True)


def code(paper: Paper) -> str:
    """Return the availability of the code of a paper, a key of `CODE`."""
    best = best_code(paper)
    if not best:
        return "none known"
    return "official" if best.official else "third party"
