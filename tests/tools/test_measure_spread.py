"""The spread of a result over seeds and over conditions, as a share of the added loss."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from implementations.harness.results.record import Record
from tests.keyed import changed
from tools.measure_spread import nats, spread, table


def test_seeds_and_conditions_are_separated(made_up: Callable[..., Record]) -> None:
    record = made_up()
    dense = record.dense.values

    def run(added: float, seed: int, capability: str) -> Record:
        hardware = record.hardware.model_copy(update={"capability": capability})
        values = {name: value * math.exp(added) for name, value in dense.items()}
        return changed(record, values=values, seed=seed, hardware=hardware)

    runs = [run(0.9, 0, "AVX2"), run(1.1, 1, "AVX2"), run(1.0, 0, "AVX512")]
    assert nats(runs[0]) == pytest.approx(0.9)
    assert spread(runs, "conditions") == pytest.approx(math.sqrt(0.02))  # seeds: 0.9 and 1.1
    assert spread(runs, "seed") == pytest.approx(math.sqrt(0.005))  # AVX2 and AVX512: 0.9 and 1.0
    assert spread(runs[1:], "seed") is None
    (row,) = list(table(runs))[2:]
    assert row.endswith("| 14.1% | 7.1% |")
