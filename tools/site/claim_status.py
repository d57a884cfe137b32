"""Whether our measurements reproduce what papers claim."""

from __future__ import annotations

import re
from dataclasses import dataclass

from implementations.harness.results.record import Record
from tools.catalog.schema.paper import Claim

REPRODUCED, PARTIAL = 0.02, 0.10
"""Largest relative difference of the ratio to dense for each status."""


@dataclass(frozen=True)
class CheckedClaim:
    """A claim with its status: `reproduced`, `partial` or `disagrees`."""

    claim: Claim
    status: str = ""
    """Empty if no measurement tests the claim."""
    ours: float | None = None
    """Our value of the same metric, if there is one."""


def check_claim(claim: Claim, records: tuple[Record, ...]) -> CheckedClaim:
    """Compare a claim with the first record of the same model, metric and setting."""
    for record in records:
        ratio = record.ratio(claim.metric)
        if ratio is None or claim.dense is None or not _comparable(claim, record):
            continue
        difference = abs(ratio / (claim.value / claim.dense) - 1)
        status = (
            "reproduced"
            if difference <= REPRODUCED
            else "partial"
            if difference <= PARTIAL
            else "disagrees"
        )
        return CheckedClaim(claim, status, record.values[claim.metric])
    return CheckedClaim(claim)


def same_setting(claim: Claim, pattern: str | None, sparsity: float) -> bool:
    """Whether a claim is about this N:M pattern, or without one about this sparsity."""
    if claim.pattern or pattern:
        return claim.pattern == pattern
    return claim.sparsity is not None and abs(claim.sparsity - sparsity) < 5e-3


def _comparable(claim: Claim, record: Record) -> bool:
    models = [re.sub(r"[^a-z0-9]", "", name.lower()) for name in (claim.model, record.model.name)]
    return models[0] == models[1] and same_setting(claim, record.pattern, record.asked)
