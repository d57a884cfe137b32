"""Repeat the runs of published records under chosen conditions, and list what differs.

    python tools/repeat_records.py build/repeated --protocol quick
    python tools/repeat_records.py build/wide --protocol quick --capability avx512 --threads 2
    python tools/publish_records.py build/repeated

Runs that already have a record in the folder are skipped, so that a stopped sweep continues.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import typer
import yaml

from implementations.harness.errors import AtlasError
from implementations.harness.results.processor import SETTING, STANDARD
from implementations.harness.results.protocol import Recovery
from implementations.harness.results.record import DENSE, Record
from implementations.harness.results.store import load_records, published_folders
from tools.command_line import fail, program

SweepGroup = tuple[str, str, Recovery | None]
"""Records of one sweep: protocol, number format, fine-tuning."""


def main(
    out: Annotated[Path, typer.Argument(file_okay=False, help="Folder for the new records")],
    protocol: Annotated[str | None, typer.Option(help="Only this protocol")] = None,
    methods: Annotated[list[str] | None, typer.Option("--method", help="Only this method")] = None,
    sparsity: Annotated[float, typer.Option(help="Only records of at least this sparsity")] = 0,
    seeds: Annotated[list[int] | None, typer.Option("--seed", help="Default: as recorded")] = None,
    capability: Annotated[
        str, typer.Option(help="Vector instructions: default, avx2 or avx512")
    ] = STANDARD.lower(),
    threads: Annotated[int, typer.Option(min=1, help="Threads of each run")] = 1,
    compare_only: Annotated[
        bool, typer.Option("--compare", help="Run nothing; only list the differences")
    ] = False,
) -> None:
    """Repeat published records and print a table of the differences."""
    try:
        records = [
            record
            for record in load_records(published_folders())
            if record.method != DENSE
            and record.hardware.accelerator is None
            and record.protocol.name == (protocol or record.protocol.name)
            and record.method in (methods or [record.method])
            and record.requested >= sparsity
        ]
        if not records:
            fail("no published record matches; leave some of the options out")
        if not compare_only:
            environment = {SETTING: capability.lower(), "OMP_NUM_THREADS": str(threads)}
            for group, members in grouped(records).items():
                run_sweep(group, members, seeds, out, os.environ | environment, threads)
        typer.echo("\n".join(table(records, load_records([out]))))
    except AtlasError as error:
        fail(str(error))


def grouped(records: Sequence[Record]) -> dict[SweepGroup, list[Record]]:
    """Group records that one sweep can repeat, each group from the shortest run to the longest."""
    groups: dict[SweepGroup, list[Record]] = defaultdict(list)
    for record in sorted(records, key=lambda record: sum(record.seconds.values())):
        groups[record.protocol.name, record.model.dtype, record.recovery].append(record)
    return groups


def run_sweep(
    group: SweepGroup,
    records: Sequence[Record],
    seeds: list[int] | None,
    out: Path,
    environment: dict[str, str],
    threads: int,
) -> None:
    """Run `atlas sweep` on the settings of the records; failed runs are printed by it."""
    protocol, dtype, recovery = group
    entries = [entry(record, seeds or [record.seed]) for record in records]
    out.mkdir(parents=True, exist_ok=True)
    file = out / f"{protocol}{'' if recovery is None else f'-{recovery.how}{recovery.tokens}'}.yaml"
    file.write_text(yaml.safe_dump({"protocol": protocol, "dtype": dtype, "runs": entries}))
    command = [sys.executable, "-m", "implementations.harness.cli", "sweep", "--file", str(file)]
    if recovery is not None:
        command += ["--recover", recovery.how, "--tokens", str(recovery.tokens)]
    workers = max(1, (os.cpu_count() or 1) // threads)
    command += ["--device", "cpu", "--workers", str(workers), "--runs", str(out)]
    subprocess.run(command, env=environment, check=False, stdout=subprocess.DEVNULL)


def entry(record: Record, seeds: list[int]) -> dict[str, Any]:
    """Return the line of a sweep file that repeats a record; a list there means "each of these"."""
    share = ("pattern", record.pattern) if record.pattern else ("sparsity", record.requested)
    fields = dict([share, *((name, record.configuration[name]) for name in record.changed)])
    return {"method": record.method, "seeds": [*seeds]} | {n: [v] for n, v in fields.items()}


def table(published: Sequence[Record], repeated: Sequence[Record]) -> Iterator[str]:
    """Yield a Markdown table of the first metric, from the least damaged model to the most."""
    yield "| method | settings | seed | protocol | times dense | recorded | repeated | difference |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    again = {record.key: record for record in repeated}
    rows = []
    for record in published:
        if record.key in again:
            name, value = next(iter(record.values.items()))
            new = again[record.key].values.get(name, math.nan)
            ratio = record.ratio(name) or math.nan
            rows.append((ratio, record, value, new))
    for ratio, record, value, new in sorted(rows, key=lambda row: row[0]):
        equal = math.isclose(value, new, rel_tol=1e-6)
        difference = "equal" if equal else f"{new / value - 1:+.2%}"
        after = "" if record.recovery is None else f", after {record.recovery}"
        yield (
            f"| {record.method} | {record.settings}{after} | {record.seed} | "
            f"{record.protocol.name} | {ratio:.2f} | {value:,.3f} | {new:,.3f} | {difference} |"
        )


if __name__ == "__main__":
    program(main)()
