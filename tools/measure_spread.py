"""Measure how far a result moves with the seed, the vector instructions and the threads.

    python tools/repeat_records.py build/avx512 --protocol quick --capability avx512
    python tools/measure_spread.py build/repeated build/avx512

The results set `TIE`, the difference at which two rows are equal.
"""

from __future__ import annotations

import math
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import typer

from implementations.harness.errors import AtlasError
from implementations.harness.results.metric import PERPLEXITY, metric
from implementations.harness.results.record import DENSE, Record
from implementations.harness.results.store import load_records
from tools.command_line import fail, program


def main(
    folders: Annotated[list[Path], typer.Argument(help="Folders of records", exists=True)],
) -> None:
    """Print, for each setting with several records, its spread as a share of the loss in nats."""
    try:
        typer.echo("\n".join(table(load_records(folders))))
    except AtlasError as error:
        fail(str(error))


def table(records: Sequence[Record]) -> Iterator[str]:
    """Yield a Markdown table, from the least damaged model to the most."""
    groups: dict[tuple[str, str, str], list[Record]] = defaultdict(list)
    for record in records:
        if record.method != DENSE and record.hardware.capability is not None:
            groups[record.method, record.settings, record.protocol.name].append(record)
    yield "| method | settings | protocol | times dense | seeds | conditions |"
    yield "| --- | --- | --- | --- | --- | --- |"
    rows = [(nats(group[0]), *key, group) for key, group in groups.items() if len(group) > 1]
    for added, method, settings, protocol, group in sorted(rows, key=lambda row: row[0]):
        cells = (spread(group, "conditions"), spread(group, "seed"))
        yield f"| {method} | {settings} | {protocol} | {math.exp(added):.2f} | " + (
            " | ".join("" if cell is None else f"{cell:.1%}" for cell in cells) + " |"
        )


def spread(records: Sequence[Record], fixed: str) -> float | None:
    """Return the standard deviation among records that share `fixed`, as a share of the mean.

    None if no two records share it.
    """
    groups: dict[str, list[float]] = defaultdict(list)
    for record in records:
        key = record.seed if fixed == "seed" else sorted(record.hardware.conditions.items())
        groups[str(key)].append(nats(record))
    several = [group for group in groups.values() if len(group) > 1]
    if not several:
        return None
    variance = statistics.mean(statistics.variance(group) for group in several)
    return math.sqrt(variance) / statistics.mean(map(nats, records))


def nats(record: Record) -> float:
    """Return the added cross-entropy, in nats per token: the mean log ratio over all texts."""
    ratios = [
        ratio
        for name in record.values
        if metric(name).kind == PERPLEXITY.kind and (ratio := record.ratio(name)) is not None
    ]
    return statistics.mean(map(math.log, ratios)) if ratios else math.nan


if __name__ == "__main__":
    program(main)()
