"""Records: in stable order, grouped by what was asked for, without infinity."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from implementations.harness.results.record import Record

Make = Callable[..., Record]


def test_the_same_record_gives_the_same_bytes_in_the_order_of_the_fields(made_up: Make):
    text = made_up().to_json()
    assert text == made_up().to_json()
    assert list(json.loads(text)) == list(Record.model_fields)
    assert '"date": "2026-11-25T12:00:00Z"' in text
    assert '"spans": [[0, 1024], [2048, 3072]]' in text  # one line, however many windows


def test_infinity_is_not_written(made_up: Make):
    with pytest.raises(ValueError, match="finite"):
        made_up(values={"ppl/wikipedia/1024": float("inf")})


def test_groups_differ_in_everything_but_the_seed(made_up: Make):
    assert made_up(seed=1).group == made_up().group
    assert made_up(configuration={"sparsity": 0.7}).group != made_up().group
    assert made_up(tasks=("arc_easy",)).group != made_up().group


def test_settings_read_well(made_up: Make):
    assert made_up().settings == "50 %"
    pattern = {"sparsity": 0.5, "pattern": "2:4", "damping": 0.1}
    assert made_up(configuration=pattern, changed=("damping",)).settings == "2:4 damping=0.1"


def test_a_ratio_is_to_the_dense_value_beside_it(made_up: Make):
    record = made_up()
    assert record.ratio("ppl/wikipedia/1024") == 2
    assert record.ratio("acc/arc_easy") is None
    zero = record.dense.model_copy(update={"values": {"ppl/wikipedia/1024": 0.0}})
    assert made_up(dense=zero).ratio("ppl/wikipedia/1024") is None


def test_a_peak_says_what_the_work_needed(made_up: Make):
    assert made_up().peak.above_start == 1000
