"""What a person sees: a line a record, and how many became what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from tools.importing.importer import Outcome


def line(outcome: Outcome) -> str:
    """Return the line of one record: where it stands, what became of it, and why."""
    item = outcome.item
    place = f"{item.document.path}:{item.document.line(())}"
    return "; ".join([f"{place}: {outcome.status}: {item.name}", *outcome.said])


def summary(outcomes: Sequence[Outcome], chosen: int, out: Path) -> Iterator[str]:
    """Yield how many records became what, and what to do next."""
    counts = Counter(outcome.status for outcome in outcomes)
    told = ", ".join(f"{counts[status]} {status}" for status in ("taken", "refused", "skipped"))
    left = f"; --limit left {chosen - len(outcomes)}" if len(outcomes) < chosen else ""
    yield f"{len(outcomes)} records: {told}{left}"
    reasons = Counter(outcome.reason for outcome in outcomes if outcome.status == "refused")
    yield from (f"  refused, {reason}: {number}" for reason, number in reasons.most_common())
    if counts["taken"]:
        yield f"Next: write summary, taxonomy and sources.read into a draft in {out}, then"
        yield f"  python tools/add_paper.py --from-file {out}/SLUG.yaml"
