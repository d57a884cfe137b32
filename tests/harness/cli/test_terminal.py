"""Tables of the terminal: the same numbers as the boards, written to be read."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from rich.table import Table

from implementations.harness.cli.terminal import board_table, mean
from implementations.harness.results.boards import Spread, boards
from implementations.harness.results.record import Rate, Record, Speed


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (Spread(42.0, 2.0), "42 ± 2"),
        (Spread(36.0), "36"),
        (Spread(20.48616), "20.49"),
        (Spread(107_115.47, 1.5), "107,115 ± 1.5"),
    ],
)
def test_a_mean_shows_its_deviation_where_there_are_seeds(value: Spread, said: str):
    assert mean(value) == said


def columns(table: Table) -> dict[str, list[str]]:
    return {str(column.header): list(map(str, column.cells)) for column in table.columns}


def test_a_board_is_the_dense_row_and_the_others_in_order(made_up: Callable[..., Record]):
    rate = Rate(dense=100.0, pruned=120.0, ratio=1.2, low=1.1, high=1.3)
    runs = [
        made_up(seed=seed, values={"ppl/wikipedia/1024": value, "ppl/c4/1024": 50.0})
        for seed, value in enumerate((40.0, 44.0))
    ]
    runs.append(
        made_up(
            method="flap",
            granularity=("channels",),
            speed=Speed(note="measured", prefill=rate, decode=rate),
            values={"ppl/wikipedia/1024": 2000.0, "acc/arc_easy": 0.25},
            labels=("collapsed",),
        )
    )
    (board,) = boards(runs)
    table = board_table(board)
    assert table.title == "smol · smollm2-135m · float32 · CPU"
    found = columns(table)
    assert found["method"] == ["dense", "wanda", "flap"]
    assert found["ppl/wikipedia/1024"] == ["20", "42 ± 2.8", "2,000"]
    assert found["ppl/c4/1024"] == ["25", "50 ± 0", ""]
    assert found["acc/arc_easy"] == ["", "", "0.25"]
    assert found["x dense"] == ["1.00", "2.10", "100.00"]
    assert found["decode"] == ["", "", "1.20 x"]
    assert found["seeds"] == ["", "2", "1"]
    assert found[""] == ["", "", "collapsed"]
