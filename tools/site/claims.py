"""What papers claim, beside what was measured here: values, and the order of methods."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from implementations.harness.results.boards import Row
from implementations.harness.results.metric import metric
from implementations.harness.results.record import Record
from tools.catalog.schema.paper import Claim, Paper
from tools.site.atlas import Atlas
from tools.site.metrics import explained

REPRODUCED, PARTIAL = 0.02, 0.10
"""Largest relative difference of the ratio to dense at which a claim counts as such."""


@dataclass(frozen=True)
class Checked:
    """A claim with its status: reproduced, partial, disagrees, or not attempted."""

    claim: Claim
    status: str
    ours: float | None = None


@dataclass(frozen=True)
class Ordering:
    """Whether one method is ahead of another in the paper, and on a board of ours."""

    claim: Claim
    other: str
    ahead: bool
    """In the paper."""
    here: bool | None
    """On our board; None where the two were not measured at this setting."""
    board: str = ""


def check(paper: Paper, records: tuple[Record, ...]) -> list[Checked]:
    """Compare each claim with the records of the same model, metric and setting, if there are."""
    return [checked(claim, records) for claim in paper.claims or ()]


def checked(claim: Claim, records: tuple[Record, ...]) -> Checked:
    """Compare a claim with the first record of the same model, metric and setting."""
    for record in records:
        ratio = record.ratio(claim.metric)
        if ratio is None or claim.dense is None or not _same(claim, record):
            continue
        apart = abs(ratio / (claim.value / claim.dense) - 1)
        status = (
            "reproduced" if apart <= REPRODUCED else "partial" if apart <= PARTIAL else "disagrees"
        )
        return Checked(claim, status, record.values[claim.metric])
    return Checked(claim, "not attempted")


def orderings(slug: str, atlas: Atlas) -> list[Ordering]:
    """Compare the order of methods in each claim with the order on our boards."""
    made = []
    for claim in atlas.papers[slug].claims or ():
        for other, value in (claim.against or {}).items():
            ahead = (claim.value < value) == explained(claim.metric).lower_is_better
            made.append(_ordering(slug, claim, other, ahead, atlas))
    return made


def _same(claim: Claim, record: Record) -> bool:
    plain = [re.sub(r"[^a-z0-9]", "", name.lower()) for name in (claim.model, record.model.name)]
    return plain[0] == plain[1] and _setting(claim, record.pattern, record.asked)


def _setting(claim: Claim, pattern: str | None, asked: float) -> bool:
    if claim.pattern or pattern:
        return claim.pattern == pattern
    return claim.sparsity is not None and abs(claim.sparsity - asked) < 5e-3


def _ordering(slug: str, claim: Claim, other: str, ahead: bool, atlas: Atlas) -> Ordering:
    for board in atlas.boards:
        found = {name: next(_rows(board.rows, name, claim), None) for name in (slug, other)}
        values = [row.value(board.metrics[0]) if row else None for row in found.values()]
        if values[0] and values[1]:
            lower = metric(board.metrics[0]).lower_is_better
            here = (values[0].mean < values[1].mean) == lower
            return Ordering(claim, other, ahead, here, board.title)
    return Ordering(claim, other, ahead, None)


def _rows(rows: tuple[Row, ...], slug: str, claim: Claim) -> Iterator[Row]:
    for row in rows:
        first = row.first
        plain = first.method == slug and not first.changed
        if plain and _setting(claim, first.pattern, first.asked):
            yield row
