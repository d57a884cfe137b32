"""Benchmark the memory of one run on the embedded model; run by `make bench`.

It compares the peak memory of a whole run, from loading the dense model to writing the record, with
the size of the weights. The peak is the process's high-water mark minus the memory that it still
holds after the model is freed (libraries, tokenizer). It uses fewer windows than `smol`, which
changes only the time. Run it in its own process.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from implementations.harness.measure.memory import HighWaterMark
from implementations.harness.model.execution import trim_memory
from implementations.harness.results.protocol import get_protocol
from implementations.harness.runs.job import Job, Setup
from implementations.harness.runs.run import run
from implementations.wanda import Wanda

WANTED = 1.3


def main() -> None:
    """Print the peak, the size of the weights and their ratio."""
    smol = get_protocol("smol")
    evaluations = tuple(e.model_copy(update={"windows": 2}) for e in smol.evaluations)
    protocol = smol.model_copy(update={"name": "memory", "evaluations": evaluations})
    setup = Setup("smollm2-135m", protocol)
    with tempfile.TemporaryDirectory() as folder:
        record = run(Job(Wanda(sparsity=0.5)), setup, runs=Path(folder)).record
    peak = HighWaterMark.read("VmHWM")
    trim_memory()
    own = HighWaterMark.read("VmRSS")
    weights = record.dense.footprint.bytes
    table = Table("figure", "MB", title="The memory of one run")
    for name, size in (("peak", peak), ("held without the model", own), ("weights", weights)):
        table.add_row(name, f"{size / 1e6:,.0f}")
    table.add_row(
        "above its own / weights", f"{(peak - own) / weights:.2f}, wanted at most {WANTED}"
    )
    Console().print(table)


if __name__ == "__main__":
    main()
