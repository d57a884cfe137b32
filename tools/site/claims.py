"""What papers claim, beside what was measured here."""

from __future__ import annotations

import re
from dataclasses import dataclass

from implementations.harness.results.record import Record
from tools.catalog.schema.paper import Claim, Paper

REPRODUCED, PARTIAL = 0.02, 0.10
"""Largest relative difference of the ratio to dense at which a claim counts as such."""


@dataclass(frozen=True)
class Checked:
    """A claim with its status: reproduced, partial, disagrees, or not attempted."""

    claim: Claim
    status: str
    ours: float | None = None


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


def at_setting(claim: Claim, pattern: str | None, asked: float) -> bool:
    """Whether what was asked for is the pattern or the share of a claim."""
    if claim.pattern or pattern:
        return claim.pattern == pattern
    return claim.sparsity is not None and abs(claim.sparsity - asked) < 5e-3


def _same(claim: Claim, record: Record) -> bool:
    plain = [re.sub(r"[^a-z0-9]", "", name.lower()) for name in (claim.model, record.model.name)]
    return plain[0] == plain[1] and at_setting(claim, record.pattern, record.asked)
