"""Shared parts of the benchmarks: options, times in pairs, and rows that survive an interruption.

Benchmarks of speed use random models, because speed depends on shapes only.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig

from implementations.harness.errors import Unavailable, in_short
from implementations.harness.measure.memory import peak_memory
from implementations.harness.measure.speed import now, rate
from implementations.harness.model.execution import parse_device
from implementations.harness.model.surgery import keep_channels, keep_kv_groups, remove_blocks
from implementations.harness.model.view import LanguageModel
from implementations.harness.progress import track
from implementations.harness.results.files import write_atomically
from implementations.harness.results.record import LARGEST_SPREAD, Rate
from implementations.harness.runs.recording import commit, hardware, versions

REPEATS, ATTEMPTS = 3, 3

SMOLLM2 = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49152,
    "tie_word_embeddings": True,
}
"""The shape of the embedded model."""
SMALL = SMOLLM2 | {"hidden_size": 192, "intermediate_size": 256, "num_attention_heads": 3}
SMALL |= {"num_hidden_layers": 4, "vocab_size": 512}


@dataclass(frozen=True)
class Result:
    """One row: two variants compared, or the reason why the device cannot run it."""

    case: str
    ratio: str = ""
    """The meaning of the ratio, such as `walk / two passes`."""
    median: float | None = None
    low: float | None = None
    high: float | None = None
    first: float | None = None
    """Median of the variant above the fraction bar, in `unit`."""
    second: float | None = None
    unit: str = "s"
    peaks: tuple[int, int] | None = None
    """Peak memory of both above the start, in bytes."""
    note: str = ""
    unavailable: str = ""

    @property
    def steady(self) -> bool:
        """Whether the repeats agree well enough to publish the ratio."""
        low, high = self.low, self.high
        return low is not None and high is not None and high <= LARGEST_SPREAD * low


class Benchmark:
    """The options of the process and the rows; with `--out`, finished rows are not repeated."""

    def __init__(self, title: str, about: str | None) -> None:
        parser = argparse.ArgumentParser(description=about)
        parser.add_argument("--device", default="cpu", help="cpu, auto or an accelerator")
        parser.add_argument("--small", action="store_true", help="use small sizes, as a test")
        parser.add_argument("--out", type=Path, help="JSON file of rows, which is continued")
        given = parser.parse_args()
        self.title, self.small, self.path = title, bool(given.small), given.out
        self.device = parse_device(given.device)
        self.rows: dict[str, Result] = {}
        if self.path is not None and self.path.exists():
            self.rows = {row["case"]: Result(**row) for row in json.loads(self.path.read_text())}

    @property
    def shape(self) -> dict[str, int]:
        """Shape of the benchmark's model."""
        return SMALL if self.small else SMOLLM2

    def row(self, case: str, measure: Callable[[], dict[str, Any]]) -> None:
        """Add one row with the fields that `measure` returns, unless the file has it."""
        self.add((case,), lambda: (measure(),))

    def add(self, cases: Sequence[str], measure: Callable[[], Sequence[dict[str, Any]]]) -> None:
        """Add rows that are measured together; an unsupported case is recorded with the reason."""
        if all(case in self.rows for case in cases):
            return
        sys.stderr.write(f"measuring {', '.join(cases)}\n")
        try:
            measured = measure()
        except (Unavailable, torch.OutOfMemoryError) as error:
            measured = [{"unavailable": in_short(error)}] * len(cases)
        for case, values in zip(cases, measured, strict=True):
            self.rows[case] = Result(case, **values)
        if self.path is not None:
            rows = [asdict(row) for row in self.rows.values()]
            write_atomically(self.path, json.dumps(rows, indent=2) + "\n")

    def show(self) -> None:
        """Print all rows."""
        columns = ("case", "ratio", "median", "min", "max", "medians", "peak memory", "note")
        table = Table(*columns, title=f"{self.title} ({self.device})")
        for row in self.rows.values():
            if row.unavailable:
                table.add_row(row.case, "not available", "", "", "", "", "", row.unavailable)
                continue
            peaks = [f"{peak / 1e6:,.0f}" for peak in row.peaks or ()]
            table.add_row(
                row.case,
                row.ratio,
                *(f"{value:.3f}" for value in (row.median, row.low, row.high)),
                f"{row.first:.3g} / {row.second:.3g} {row.unit}",
                f"{' / '.join(peaks)} MB" if peaks else "",
                row.note if row.steady else f"not steady. {row.note}",
            )
        Console(width=150).print(table)


def compare(
    first: Callable[[], object], second: Callable[[], object], device: torch.device, ratio: str
) -> dict[str, Any]:
    """Time two actions in turn and measure their peak memory; return the fields of a row.

    Like the speed of a model, unsteady times are measured again, and the steadiest are returned.
    """
    for action in (first, second):
        action()
    measured: list[Rate] = []
    while len(measured) < ATTEMPTS and not (measured and measured[-1].spread <= LARGEST_SPREAD):
        pairs = [[seconds(a, device) for a in (second, first)] for _ in range(REPEATS)]
        measured.append(rate(pairs))
    peaks = (peak(first, device), peak(second, device))
    return fields(min(measured, key=lambda one: one.spread), ratio) | {"peaks": peaks}


def fields(steadiest: Rate, ratio: str, unit: str = "s") -> dict[str, Any]:
    """Return the fields of a row for a rate, whose `pruned` is the variant above the bar."""
    return {
        "ratio": ratio,
        "median": steadiest.ratio,
        "low": steadiest.low,
        "high": steadiest.high,
        "first": steadiest.pruned,
        "second": steadiest.dense,
        "unit": unit,
    }


def seconds(action: Callable[[], object], device: torch.device) -> float:
    """Return the duration of one call, with the work that it queued on `device`."""
    start = now(device)
    action()
    return now(device) - start


def peak(action: Callable[[], object], device: torch.device) -> int:
    """Return the peak memory of one call above its start, in bytes."""
    with peak_memory(device) as watch:
        action()
    return watch.peak.above_start


def random_model(
    shape: Mapping[str, int], device: torch.device, dtype: torch.dtype = torch.float32
) -> LanguageModel:
    """Create a Llama model with random weights on `device`."""
    torch.manual_seed(0)
    config: PreTrainedConfig = AutoConfig.for_model("llama", **shape)
    with device:
        hf = AutoModelForCausalLM.from_config(config, dtype=dtype)
    hf.tie_weights()
    return LanguageModel(hf.eval(), name="random weights")


def zero_half(model: LanguageModel) -> None:
    """Set the first two of every four weights to zero."""
    for _, _, linear in model.linears():
        linear.weight.data.view(-1, 4)[:, :2] = 0


def remove_layers(model: LanguageModel) -> None:
    """Remove a fifth of the layers."""
    remove_blocks(model, range(0, len(model.blocks), 5))


def narrow_layers(model: LanguageModel) -> None:
    """Remove a KV group in every other layer and a fifth of the channels in all."""
    for block in model.blocks:
        keep_kv_groups(block.attention, range(block.index % 2, block.attention.kv_heads))
        keep_channels(block.feed_forward, range(block.feed_forward.channels * 4 // 5))


def compress_half(model: LanguageModel) -> str:
    """Set half of the weights to zero and store the layers in PyTorch's format for 2:4 kernels.

    Layers whose shape the format does not allow stay dense. Returns how many are compressed.

    Raises:
        Unavailable: the device has no such kernels, or no layer can be compressed.
    """
    zero_half(model)
    compressed, reason, count = 0, "the model has no linear layers", 0
    for _, _, linear in track(list(model.linears()), "compressing"):
        count += 1
        dense = linear.weight
        try:
            sparse = torch.sparse.to_sparse_semi_structured(dense.detach())
            linear.weight = nn.Parameter(sparse, requires_grad=False)
            linear(torch.zeros(8, dense.shape[1], dtype=dense.dtype, device=dense.device))
            compressed += 1
        except (RuntimeError, NotImplementedError, ValueError) as error:
            linear.weight, reason = dense, in_short(error)
    if not compressed:
        raise Unavailable(f"no 2:4 kernel of PyTorch runs here: {reason}")
    return f"{compressed} of {count} layers compressed"


def main() -> None:
    """Print the accelerator of this machine, its versions and the commit of the code as JSON."""
    device = parse_device("auto")
    facts = hardware(device).model_dump(mode="json")
    head, dirty = commit()
    sys.stdout.write(
        json.dumps(
            {"device": device.type, **facts, "versions": versions(), "commit": head, "dirty": dirty}
        )
    )


if __name__ == "__main__":
    main()
