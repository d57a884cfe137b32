"""The report of an import: one line per record, and a summary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from tools.importing.importer import Outcome


def line(outcome: Outcome) -> str:
    """Return the line of one record: its place in the list, its status, and the reasons."""
    item = outcome.item
    place = f"{item.document.path}:{item.document.line(())}"
    return "; ".join([f"{place}: {outcome.status}: {item.name}", *outcome.details])


def summary(outcomes: Sequence[Outcome], chosen: int, out: Path) -> Iterator[str]:
    """Yield the number of records per status and reason, and the next step."""
    counts = Counter[str](outcome.status for outcome in outcomes)
    numbers = ", ".join(f"{counts[name]} {name}" for name in ("accepted", "rejected", "skipped"))
    rest = f"; {chosen - len(outcomes)} remaining" if len(outcomes) < chosen else ""
    yield f"{len(outcomes)} records: {numbers}{rest}"
    reasons = Counter(outcome.reason for outcome in outcomes if outcome.status == "rejected")
    yield from (f"  rejected, {reason}: {number}" for reason, number in reasons.most_common())
    if counts["accepted"]:
        yield f"Next: fill in summary, taxonomy and sources.read of a draft in {out}, then run"
        yield f"  python tools/add_paper.py --from-file {out}/SLUG.yaml"
