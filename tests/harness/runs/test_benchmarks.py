"""Shared parts of the benchmarks."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from implementations.harness.contract.tiny import tiny_model
from implementations.harness.errors import Unavailable
from implementations.harness.runs import benchmarks
from implementations.harness.runs.benchmarks import Benchmark, Result, compare, compress_half


def test_finished_rows_are_kept_and_missing_abilities_are_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows.json"
    monkeypatch.setattr(sys, "argv", ["benchmark", "--out", str(path)])
    calls = []

    def measure() -> dict:
        calls.append(1)
        return {"ratio": "a / b", "median": 2.0, "low": 2.0, "high": 2.5}

    def without_memory() -> dict:
        raise torch.OutOfMemoryError("80 GB")

    def broken() -> dict:
        raise ZeroDivisionError

    for _ in range(2):
        benchmark = Benchmark("title", None)
        benchmark.row("fits", measure)
        benchmark.row("large", without_memory)
        with pytest.raises(ZeroDivisionError):
            benchmark.row("broken", broken)
    assert calls == [1]
    assert [(row["case"], row["unavailable"]) for row in json.loads(path.read_text())] == [
        ("fits", ""),
        ("large", "80 GB"),
    ]
    assert benchmark.rows["fits"].steady
    assert not Result("wide", low=2.0, high=2.7).steady


def test_unsteady_times_are_measured_again_and_the_steadiest_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Pairs (second, first) of three attempts with ratios 2 to 4, 2 to 3 and 1 to 3.
    times = iter([1, 2, 1, 3, 1, 4, 1, 2, 1, 2.5, 1, 3, 1, 1, 1, 2, 1, 3])
    monkeypatch.setattr(benchmarks, "seconds", lambda action, device: next(times))
    monkeypatch.setattr(benchmarks, "peak", lambda action, device: action())
    row = compare(lambda: 7, lambda: 5, torch.device("cpu"), "a / b")
    assert (row["median"], row["low"], row["high"]) == (2.5, 2, 3)
    assert (row["first"], row["second"], row["peaks"]) == (2.5, 1, (7, 5))
    assert next(times, None) is None


def test_layers_are_compressed_where_their_shape_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    def only_wide(weight: torch.Tensor) -> torch.Tensor:
        assert bool((weight.view(-1, 4)[:, :2] == 0).all())
        if weight.shape[1] != 48:
            raise RuntimeError("the shape is too small")
        return weight

    monkeypatch.setattr(torch.sparse, "to_sparse_semi_structured", only_wide)
    assert compress_half(tiny_model("llama")) == "2 of 14 layers compressed"
    with pytest.raises(Unavailable, match="too small"):
        compress_half(tiny_model("llama", intermediate_size=64))
