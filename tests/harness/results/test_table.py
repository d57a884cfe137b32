"""Leaderboard tables: filtering, sorting, and export to JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable

import pytest

from implementations.harness.errors import BadInput
from implementations.harness.results.boards import Board, boards
from implementations.harness.results.protocol import EvaluationText
from implementations.harness.results.record import Rate, Record, Speed
from implementations.harness.results.table import (
    Filter,
    lines,
    order,
    share_range,
    to_csv,
    to_json,
)
from tests.keyed import with_divergence

Make = Callable[..., Record]
WIKIPEDIA, C4, SHORT = "ppl/wikipedia/1024", "ppl/c4/1024", "ppl/wikipedia/512"


@pytest.fixture
def records(at: Make) -> list[Record]:
    rate = Rate(dense=100.0, pruned=120.0, ratio=1.2, low=1.1, high=1.3)
    return [
        at("wanda", 0.5, 40.0),
        at("wanda", 0.5, 42.0, seed=1),
        at("wanda", 0.5, 44.0, seed=2),
        at("sparsegpt", 0.5, 36.0),
        at("magnitude", 0.5, 2000.0, labels=("collapsed",)),
        at(
            "flap",
            0.2,
            30.0,
            granularity=("kv-groups", "channels"),
            speed=Speed(note="measured", prefill=rate, decode=rate),
        ),
    ]


def names(result: list[Board]) -> list[str]:
    return [line["method"] for line in lines(result)]


def test_dense_row_comes_first_then_the_best(records):
    best = ["dense", "flap", "sparsegpt", "wanda", "magnitude"]
    assert names(order(boards(records))) == best
    assert names(order(boards(records), reverse=True)) == ["dense", *best[:0:-1]]


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("method", ["dense", "flap", "magnitude", "sparsegpt", "wanda"]),
        ("ppl/c4", ["dense", "flap", "sparsegpt", "wanda", "magnitude"]),
        ("decode", ["dense", "flap"]),  # only flap has a speed
        ("sparsity", ["dense", "flap"]),
    ],
)
@pytest.mark.parametrize("reverse", [False, True])
def test_sort_by_column(by, expected, reverse, records):
    result = names(order(boards(records), by, reverse=reverse))
    if not reverse or by == "decode":  # rows without the value come last either way
        assert result[: len(expected)] == expected
    else:
        assert result[:0:-1][: len(expected) - 1] == expected[1:]


def test_beginning_of_a_metric_means_the_metric_of_each_board(at: Make):
    short = {"text": "wikipedia", "length": 512}
    protocol = at("wanda", 0.5, 1.0).protocol.model_copy(
        update={"name": "short", "evaluations": (EvaluationText(**short),)}
    )
    runs = [
        at(method, 0.5, value, protocol=one, values={name: value})
        for method, value in {"flap": 50.0, "wanda": 40.0}.items()
        for one, name in ((at("wanda", 0.5, 1.0).protocol, WIKIPEDIA), (protocol, SHORT))
    ]
    assert names(order(boards(runs), "ppl")) == ["dense", "wanda", "flap"] * 2
    assert names(order(boards(runs), "ppl", reverse=True)) == ["dense", "flap", "wanda"] * 2


def test_highest_accuracy_comes_first(at: Make):
    right = {"wanda": 0.5, "flap": 0.7, "magnitude": 0.3}
    runs = [
        at(method, 0.5, 30.0, values={WIKIPEDIA: 30.0, C4: 30.0, "acc/arc": value})
        for method, value in right.items()
    ]
    assert names(order(boards(runs), "acc")) == ["dense", "flap", "wanda", "magnitude"]


@pytest.mark.parametrize(
    ("by", "first"),
    [
        ("kl/wikipedia/1024", ["wanda", "magnitude"]),
        ("kl", ["wanda", "magnitude"]),
        ("agreement", ["magnitude", "wanda"]),
    ],
)
@pytest.mark.parametrize("reverse", [False, True])
def test_rows_without_divergence_come_last(by: str, first: list[str], reverse: bool, at: Make):
    runs = [
        at("sparsegpt", 0.5, 36.0),
        with_divergence(at("magnitude", 0.5, 50.0), 0.6, 0.8),
        with_divergence(at("wanda", 0.5, 40.0), 0.5, 0.7),
    ]
    expected = first[::-1] if reverse else first
    assert names(order(boards(runs), by, reverse=reverse)) == ["dense", *expected, "sparsegpt"]


def test_refuses_unknown_sort_column(records):
    expected = r"--sort: unknown column 'colour'; choose one of method.*ppl/c4/1024"
    with pytest.raises(BadInput, match=expected):
        order(boards(records), "colour")


def test_number_formats_are_not_mixed(records, at: Make):
    model = records[0].model.model_copy(update={"dtype": "bfloat16"})
    other = at("wanda", 0.5, 1.0, model=model)
    result = order(boards([*records, other]))
    assert names(result) == ["dense", "flap", "sparsegpt", "wanda", "magnitude", "dense", "wanda"]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Filter(methods=("wanda",)), ["dense", "wanda"]),
        (Filter(granularities=("channels",)), ["dense", "flap"]),
        (Filter(low=0.5, high=0.5), ["dense", "sparsegpt", "wanda", "magnitude"]),
        (Filter(high=0.3), ["dense", "flap"]),
        (Filter(protocols=("quick",)), []),
        (Filter(models=("other",)), []),
    ],
)
def test_filter_selects_rows(wanted, expected, records):
    assert names(wanted(boards(records))) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0.5", (0.5, 0.5)), ("0.2-0.5", (0.2, 0.5)), ("50%", (0.5, 0.5)), ("20%-50%", (0.2, 0.5))],
)
def test_parse_share_range(text, expected):
    assert share_range(text) == expected


@pytest.mark.parametrize("text", ["half", "1/2", "0.5-0.2", "0.5-2", "150%", "50%%", "-1", ""])
def test_refuses_invalid_share_range(text):
    with pytest.raises(BadInput, match="--sparsity: expected a number between 0 and 1 or a range"):
        share_range(text)


def test_bits_column_is_empty_without_quantisation(at: Make, made_up: Make):
    weights = made_up().footprint.model_copy(update={"bits": 1.5})
    result = [at("wanda", 0.5, 40.0), at("pbs2p", 0.5, 90.0, footprint=weights)]
    table = csv.DictReader(io.StringIO(to_csv(lines(boards(result)))))
    assert {line["method"]: line["bits"] for line in table} == {
        "dense": "",
        "wanda": "",
        "pbs2p": "1.5",
    }


def test_csv_contains_every_number(records, at: Make):
    table = list(csv.DictReader(io.StringIO(to_csv(lines(boards(records))))))
    wanda = next(line for line in table if line["method"] == "wanda")
    assert float(wanda[WIKIPEDIA]) == 42
    assert float(wanda[f"{WIKIPEDIA} deviation"]) == 2
    assert float(wanda[f"{WIKIPEDIA} dense"]) == 20
    assert float(wanda[f"{WIKIPEDIA} ratio"]) == pytest.approx(2.1)
    assert float(wanda["ratio"]) == pytest.approx(2.1)
    assert wanda["seeds"] == "0 1 2"
    assert wanda["runs"].split() == [r.run for r in records if r.method == "wanda"]
    assert next(line for line in table if line["method"] == "magnitude")["labels"] == "collapsed"
    assert to_csv([]) == ""


def test_divergence_and_agreement_have_a_deviation_but_no_ratio(records, at: Make):
    both = [
        with_divergence(at("flap", 0.3, 30.0, seed=seed), 0.4 + 0.2 * seed, 0.7)
        for seed in range(2)
    ]
    rows = list(lines(boards([*records, *both])))
    measured = next(line for line in rows if line["method"] == "flap" and line["requested"] == 0.3)
    deviation = pytest.approx(0.02**0.5)
    assert measured["values"]["kl/c4/1024"] == {"mean": 0.5, "deviation": deviation}
    table = list(csv.DictReader(io.StringIO(to_csv(rows))))
    assert [name for name in table[0] if name.startswith(("kl", "agreement"))] == [
        f"{kind}/{text}/1024{part}"
        for text in ("wikipedia", "c4")
        for kind in ("kl", "agreement")
        for part in ("", " deviation")
    ]
    found = {(line["method"], line["requested"]): line["kl/wikipedia/1024"] for line in table}
    assert found["flap", "0.3"] == "0.5"
    assert found["wanda", "0.5"] == found["dense", "0.0"] == ""


def test_json_contains_every_number(records):
    result = json.loads(to_json(lines(boards(records))))
    flap = next(line for line in result if line["method"] == "flap")
    assert flap["values"][C4] == {"mean": 60.0, "deviation": None, "dense": 25.0, "ratio": 2.4}
    assert (flap["decode"], flap["granularity"]) == (1.2, "kv-groups+channels")
    assert (flap["family"], flap["class"]) == ("Heads and channels", "one-shot")
    dense = next(line for line in result if line["method"] == "dense")
    assert dense.keys() == flap.keys()
    assert dense["values"][WIKIPEDIA]["mean"] == 20
    assert (dense["ratio"], dense["runs"]) == (1, ["20261125T110000Z-11111111"])


def test_infinite_ratio_is_exported_as_missing(at: Make, made_up: Make):
    dense = made_up().dense.model_copy(update={"values": {WIKIPEDIA: 5e-324}})
    result = list(lines(boards([at("wanda", 0.5, 40.0).model_copy(update={"dense": dense})])))
    assert json.loads(to_json(result), parse_constant=pytest.fail)[1]["ratio"] is None
    assert next(csv.DictReader(io.StringIO(to_csv(result[1:]))))["ratio"] == ""


def test_exported_line_identifies_its_board(records):
    line = next(lines(boards(records)))
    first = records[0]
    assert line["protocol_fingerprint"] == first.protocol.fingerprint
    assert line["model_sha256"] == first.model.sha256
    assert (line["dtype"], line["device"]) == ("float32", "CPU")


def test_csv_escapes_formulas_and_control_characters(at: Make):
    plain = at("wanda", 0.5, 40.0)
    foreign = plain.model_copy(
        update={
            "model": plain.model.model_copy(update={"name": "=1+1"}),
            "values": {**plain.values, "=2": 1.0},
            "method": "@a\nb",
        }
    )
    text = to_csv(lines(boards([foreign])))
    table = list(csv.DictReader(io.StringIO(text)))
    assert [line["model"] for line in table] == ["'=1+1", "'=1+1"]
    assert table[1]["method"] == r"'@a\nb"
    assert table[1]["'=2"] == "1.0"
    assert all(c == "\n" or c.isprintable() for c in text)
