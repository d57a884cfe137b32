"""Whether our measurements reproduce what papers claim."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from statistics import fmean

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
    """Our value of the same metric, if there is one; the mean over seeds."""


def check_claim(claim: Claim, records: tuple[Record, ...]) -> CheckedClaim:
    """Compare a claim with the mean over seeds at the same model, metric and sparsity.

    Runs with changed fields and runs that trained after pruning are left out.
    """
    found = [
        record
        for record in records
        if record.ratio(claim.metric) is not None and _comparable(claim, record)
    ]
    # Records of another protocol or device are not further seeds.
    same = [record for record in found if record.group == found[0].group]
    if claim.dense is None or not same:
        return CheckedClaim(claim)
    ratio = fmean(record.ratio(claim.metric) or math.nan for record in same)
    difference = abs(ratio / (claim.value / claim.dense) - 1)
    status = (
        "reproduced"
        if difference <= REPRODUCED
        else "partial"
        if difference <= PARTIAL
        else "disagrees"
    )
    return CheckedClaim(claim, status, fmean(record.values[claim.metric] for record in same))


def same_setting(claim: Claim, pattern: str | None, sparsity: float) -> bool:
    """Whether a claim is about this N:M pattern, or without one about this sparsity."""
    if claim.pattern or pattern:
        return claim.pattern == pattern
    return claim.sparsity is not None and abs(claim.sparsity - sparsity) < 5e-3


def _comparable(claim: Claim, record: Record) -> bool:
    if record.changed or record.recovered:
        return False
    models = [re.sub(r"[^a-z0-9]", "", name.lower()) for name in (claim.model, record.model.name)]
    return models[0] == models[1] and same_setting(claim, record.pattern, record.requested)
