"""The leaderboard: seeds put together, dense beside, filtered, sorted, exported."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from implementations.harness.errors import BadInput
from implementations.harness.results.boards import (
    Filter,
    Row,
    headings,
    order,
    rows,
    share_range,
    to_csv,
    to_json,
)
from implementations.harness.results.record import Dense, Rate, Record, Speed

Make = Callable[..., Record]
WIKIPEDIA, C4 = "ppl/wikipedia/1024", "ppl/c4/1024"


def at(made_up: Make, method: str, share: float, wikipedia: float, **more) -> Record:
    key = f"{method}-{share}-{more.get('seed', 0)}-{more.get('key', '')}"
    return made_up(
        **{
            "method": method,
            "configuration": {"sparsity": share},
            "asked": share,
            "achieved": share,
            "values": {WIKIPEDIA: wikipedia, C4: 2 * wikipedia},
        }
        | more
        | {"key": key, "run": key}
    )


@pytest.fixture
def records(made_up: Make) -> list[Record]:
    rate = Rate(dense=100.0, pruned=120.0, ratio=1.2, low=1.1, high=1.3)
    return [
        at(made_up, "wanda", 0.5, 40.0),
        at(made_up, "wanda", 0.5, 42.0, seed=1),
        at(made_up, "wanda", 0.5, 44.0, seed=2),
        at(made_up, "sparsegpt", 0.5, 36.0),
        at(made_up, "magnitude", 0.5, 2000.0, labels=("collapsed",)),
        at(
            made_up,
            "flap",
            0.2,
            30.0,
            granularity=("kv-groups", "channels"),
            speed=Speed(note="measured", prefill=rate, decode=rate),
        ),
    ]


def names(found: list[Row]) -> list[str]:
    return [row.method for row in found]


def test_seeds_become_one_row_with_mean_and_spread(records):
    (wanda,) = (row for row in rows(records) if row.method == "wanda")
    assert wanda.seeds == (0, 1, 2)
    assert wanda.values[WIKIPEDIA].mean == 42
    assert wanda.values[WIKIPEDIA].deviation == 2
    assert str(wanda.values[WIKIPEDIA]) == "42 ± 2"
    assert wanda.ratio == pytest.approx(42 / 20)


def test_one_seed_has_no_spread(records):
    (row,) = (row for row in rows(records) if row.method == "sparsegpt")
    assert row.values[WIKIPEDIA].deviation is None
    assert str(row.values[WIKIPEDIA]) == "36"


def test_the_dense_row_comes_from_its_record_or_from_those_that_carry_it(records, made_up):
    (carried,) = (row for row in rows(records) if row.method == "dense")
    assert carried.values[WIKIPEDIA].mean == 20
    assert carried.runs == ("20261125T110000Z-11111111",)
    own = at(made_up, "dense", 0.0, 20.5, granularity=(), configuration={})
    (measured,) = (row for row in rows([*records, own]) if row.method == "dense")
    assert measured.values[WIKIPEDIA].mean == 20.5


def test_the_newer_of_two_records_of_one_request_counts(made_up):
    old = at(made_up, "wanda", 0.5, 40.0)
    new = old.model_copy(
        update={"date": datetime(2027, 1, 1, tzinfo=UTC), "values": {WIKIPEDIA: 41.0, C4: 1.0}}
    )
    for order_read in ([old, new], [new, old]):
        (row,) = (row for row in rows(order_read) if row.method == "wanda")
        assert row.values[WIKIPEDIA].mean == 41
        assert row.seeds == (0,)


def test_dense_leads_and_the_best_follows(records):
    assert names(order(rows(records))) == ["dense", "flap", "sparsegpt", "wanda", "magnitude"]
    assert names(order(rows(records), reverse=True))[:2] == ["dense", "magnitude"]


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("method", ["dense", "flap", "magnitude", "sparsegpt", "wanda"]),
        ("ppl/c4", ["dense", "flap", "sparsegpt", "wanda", "magnitude"]),
        ("decode", ["dense", "flap"]),  # only flap has a speed; the others follow
    ],
)
def test_sorting(by, expected, records):
    assert names(order(rows(records), by))[: len(expected)] == expected


def test_an_unknown_order_lists_the_known_ones(records):
    with pytest.raises(BadInput, match=r"cannot sort by 'colour'; there are method.*ppl/c4/1024"):
        order(rows(records), "colour")


def test_places_are_not_mixed(records, made_up):
    model = records[0].model.model_copy(update={"dtype": "bfloat16"})
    other = at(made_up, "wanda", 0.5, 1.0, model=model, key="bf16")
    found = order(rows([*records, other]))
    assert names(found) == ["dense", "wanda", "dense", "flap", "sparsegpt", "wanda", "magnitude"]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Filter(methods=("wanda",)), ["dense", "wanda"]),
        (Filter(granularities=("channels",)), ["dense", "flap"]),
        (Filter(low=0.5, high=0.5), ["dense", "magnitude", "sparsegpt", "wanda"]),
        (Filter(high=0.3), ["dense", "flap"]),
        (Filter(protocols=("quick",)), []),
        (Filter(models=("other",)), []),
    ],
)
def test_filters(wanted, expected, records):
    assert names(list(filter(wanted, rows(records)))) == expected


@pytest.mark.parametrize(("text", "expected"), [("0.5", (0.5, 0.5)), ("0.2-0.5", (0.2, 0.5))])
def test_ranges(text, expected):
    assert share_range(text) == expected


@pytest.mark.parametrize("text", ["half", "0.5-0.2", "0.5-2", "-1", ""])
def test_wrong_ranges_are_refused(text):
    with pytest.raises(BadInput):
        share_range(text)


def test_csv_holds_every_number(records):
    lines = list(csv.DictReader(io.StringIO(to_csv(order(rows(records))))))
    wanda = next(line for line in lines if line["method"] == "wanda")
    assert float(wanda[WIKIPEDIA]) == 42
    assert float(wanda[f"{WIKIPEDIA} deviation"]) == 2
    assert float(wanda[f"{WIKIPEDIA} dense"]) == 20
    assert wanda["seeds"] == "0 1 2"
    assert next(line for line in lines if line["method"] == "magnitude")["labels"] == "collapsed"
    assert to_csv([]) == ""


def test_tables_leave_out_what_only_accompanies_a_value():
    names = [WIKIPEDIA, "acc/arc", "acc_stderr/arc", "samples/arc", "version/arc"]
    assert headings(names) == [WIKIPEDIA, "acc/arc"]


def test_json_holds_every_number(records):
    flap = next(row for row in json.loads(to_json(rows(records))) if row["method"] == "flap")
    assert flap["values"][C4] == {"mean": 60.0, "deviation": None, "dense": 25.0}
    assert (flap["decode"], flap["granularity"]) == (1.2, "kv-groups+channels")


def test_a_metric_that_one_seed_lacks_is_not_averaged(made_up):
    both = [at(made_up, "wanda", 0.5, 40.0), at(made_up, "wanda", 0.5, 42.0, seed=1)]
    both[1] = both[1].model_copy(update={"values": {WIKIPEDIA: 42.0}})
    (row,) = (row for row in rows(both) if row.method == "wanda")
    assert list(row.values) == [WIKIPEDIA]


def test_dense_values_are_those_of_the_last_seed(made_up):
    dense = Dense(run="other", values={WIKIPEDIA: 10.0, C4: 10.0}, footprint=made_up().footprint)
    record = at(made_up, "wanda", 0.5, 40.0, dense=dense)
    (row,) = (row for row in rows([record]) if row.method == "wanda")
    assert row.ratio == 4
