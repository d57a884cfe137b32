"""Leaderboards: grouping of comparable records, aggregation over seeds, ratios to dense."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from implementations.harness.results.boards import FAMILIES, Board, Row, Spread, boards, newest
from implementations.harness.results.record import Dense, Rate, Record, Speed
from implementations.harness.results.table import Filter

Make = Callable[..., Record]
OTHER = "20261124T000000Z-22222222"
WIKIPEDIA, C4 = "ppl/wikipedia/1024", "ppl/c4/1024"


def dense_of(made_up: Make, wikipedia: float, **more) -> Dense:
    values = {WIKIPEDIA: wikipedia, C4: 25.0}
    return Dense(**{"run": OTHER, "values": values, "footprint": made_up().footprint} | more)


def one_board(records: list[Record]) -> Board:
    (board,) = boards(records)
    return board


def one_row(records: list[Record]) -> Row:
    (row,) = one_board(records).rows
    return row


def test_seeds_become_one_row_with_mean_and_deviation(at: Make):
    seeds = [at("wanda", 0.5, 40.0 + 2 * seed, seed=seed) for seed in (2, 0, 1)]
    row = one_row(seeds)
    assert row.seeds == (0, 1, 2)
    assert (row.value(WIKIPEDIA).mean, row.value(WIKIPEDIA).deviation) == (42, 2)
    assert row.dense(WIKIPEDIA).mean == 20
    assert row.ratio(WIKIPEDIA).mean == pytest.approx(42 / 20)


def test_one_seed_has_no_deviation(at: Make):
    row = one_row([at("sparsegpt", 0.5, 36.0)])
    assert row.value(WIKIPEDIA).deviation is None


def test_mean_of_equal_values_is_exact(at: Make, made_up: Make):
    dense = dense_of(made_up, 28.8211576304977)
    row = one_row([at("wanda", 0.5, 40.0, seed=seed, dense=dense) for seed in range(3)])
    assert row.dense(WIKIPEDIA).mean == 28.8211576304977


def test_ratio_is_the_mean_of_the_ratios_of_the_runs(at: Make, made_up: Make):
    """Two seeds have different dense values; dividing by the last would give 1.0885."""
    seeds = [
        at("wanda", 0.5, 1.0885 * 20.4, seed=0, dense=dense_of(made_up, 10.2)),
        at("wanda", 0.5, 1.0885 * 20.4, seed=1, dense=dense_of(made_up, 20.4)),
    ]
    for records in (seeds, seeds[::-1]):
        ratio = one_row(records).ratio(WIKIPEDIA)
        assert ratio.mean == pytest.approx((2.177 + 1.0885) / 2)
        assert ratio.deviation == pytest.approx((2.177 - 1.0885) / 2**0.5)
        assert one_row(records).dense(WIKIPEDIA).mean == pytest.approx(15.3)


def test_metric_missing_from_one_seed_is_not_averaged(at: Make):
    both = [at("wanda", 0.5, 40.0), at("wanda", 0.5, 42.0, seed=1)]
    both[1] = both[1].model_copy(update={"values": {WIKIPEDIA: 42.0}})
    row = one_row(both)
    assert row.names == (WIKIPEDIA,)
    assert row.value(C4) is row.ratio(C4) is None


def test_extreme_numbers_have_no_deviation_and_raise_no_error(at: Make, made_up: Make):
    plain = [at("wanda", 0.5, 40.0, seed=i) for i in range(2)]
    ends = [
        record.model_copy(update={"values": {WIKIPEDIA: value}})  # without validation
        for record, value in zip(plain, (1.7e308, -1.7e308), strict=True)
    ]
    row = one_row(ends)
    assert row.value(WIKIPEDIA) == Spread(0.0)
    zero, least = ({"dense": dense_of(made_up, value)} for value in (0.0, 5e-324))
    assert one_row([plain[0].model_copy(update=zero)]).ratio(WIKIPEDIA) is None
    tiny = [record.model_copy(update=least) for record in plain]
    assert one_row(tiny).ratio(WIKIPEDIA) == Spread(math.inf)
    apart = [record.model_copy(update=least) for record in ends]
    assert math.isnan(one_row(apart).ratio(WIKIPEDIA).mean)


def test_row_has_no_values_if_its_runs_share_none(at: Make):
    runs = [at("wanda", 0.5, 1.0, values={WIKIPEDIA: 40.0})]
    runs.append(at("wanda", 0.5, 1.0, seed=1, values={"acc/arc": 0.5}))
    runs.append(at("wanda", 0.7, 1.0, values={}))
    board = one_board(runs)
    assert board.metrics == (WIKIPEDIA, C4, "acc/arc")
    assert [row.names for row in board.rows] == [(), ()]


def test_speeds_are_averaged_and_keep_the_extremes(at: Make):
    rates = [
        Rate(dense=100.0, pruned=120.0, ratio=1.2, low=1.1, high=1.3),
        Rate(dense=80.0, pruned=112.0, ratio=1.4, low=1.2, high=1.5),
    ]
    runs = [
        at("flap", 0.2, 30.0, seed=seed, speed=Speed(note="measured", decode=rate))
        for seed, rate in enumerate(rates)
    ]
    rate = one_row(runs).rate("decode")
    assert (rate.dense, rate.pruned, rate.low, rate.high) == (90, 116, 1.1, 1.5)
    assert rate.ratio == pytest.approx(1.3)
    assert one_row(runs).rate("prefill") is None
    runs.append(at("flap", 0.2, 30.0, seed=2))
    assert one_row(runs).rate("decode") is None


def test_row_has_the_maximum_memory_and_all_labels_of_its_runs(at: Make, made_up: Make):
    peak = made_up().peak
    runs = [
        at("wanda", 0.5, 40.0, peak=peak.model_copy(update={"bytes": 9000})),
        at("wanda", 0.5, 2000.0, seed=1, labels=("collapsed",)),
    ]
    row = one_row(runs)
    assert row.memory == 9000
    assert row.labels == ("collapsed",)
    assert row.collapsed


def test_dense_row_comes_from_the_dense_record_or_the_newest_record(at: Make, made_up: Make):
    later = made_up().date + timedelta(days=1)
    old = at("wanda", 0.5, 40.0)
    new = at("wanda", 0.7, 40.0, date=later, dense=dense_of(made_up, 19.0))
    for records in ([old, new], [new, old]):
        assert one_board(records).dense.run == OTHER
        assert one_board(records).dense.values[WIKIPEDIA] == 19
    own = at("dense", 0.0, 20.5, granularity=(), configuration={})
    board = one_board([own, new, old])
    assert (board.dense.run, board.dense.values[WIKIPEDIA]) == (own.run, 20.5)
    assert [row.method for row in board.rows] == ["wanda", "wanda"]
    assert [row.ratio(WIKIPEDIA).mean for row in board.rows] == [2, 40 / 19]


def test_board_with_only_the_dense_model_has_no_rows(at: Make):
    board = one_board([at("dense", 0.0, 20.5, granularity=(), configuration={})])
    assert board.rows == ()
    assert board.metrics == (WIKIPEDIA, C4)


def test_newer_of_two_records_with_the_same_key_counts(at: Make):
    old = at("wanda", 0.5, 40.0)
    new = old.model_copy(
        update={"date": datetime(2027, 1, 1, tzinfo=UTC), "values": {WIKIPEDIA: 41.0, C4: 1.0}}
    )
    for records in ([old, new], [new, old]):
        row = one_row(records)
        assert row.value(WIKIPEDIA).mean == 41
        assert row.seeds == (0,)
        assert newest(records) == [new]


def of_model(record: Record, **changes: str) -> dict:
    return {"model": record.model.model_copy(update=changes)}


def of_text(record: Record) -> dict:
    text = record.texts[0].model_copy(update={"role": WIKIPEDIA, "source_sha256": "5" * 64})
    return {"texts": (*record.texts, text)}


def of_protocol(record: Record) -> dict:
    generation = record.protocol.generation.model_copy(update={"tokens": 8})
    return {"protocol": record.protocol.model_copy(update={"generation": generation})}


def of_device(record: Record) -> dict:
    return {"hardware": record.hardware.model_copy(update={"accelerator": "a GPU"})}


@pytest.mark.parametrize(
    "change",
    [
        lambda record: of_model(record, sha256="1" * 64),
        lambda record: of_model(record, config_sha256="5" * 64),
        lambda record: of_model(record, tokenizer_sha256="5" * 64),
        lambda record: of_model(record, dtype="bfloat16"),
        of_text,
        of_protocol,
        of_device,
    ],
)
def test_incomparable_record_gets_its_own_board(change, at: Make):
    first = at("wanda", 0.5, 40.0)
    other = at("wanda", 0.5, 1.0, **change(first))
    result = boards([first, other])
    assert sorted(board.rows[0].value(WIKIPEDIA).mean for board in result) == [1, 40]
    assert {board.device for board in result} <= {"CPU", "a GPU"}


def test_boards_of_accelerators_follow_that_of_the_cpu(at: Make):
    first = at("wanda", 0.5, 40.0)
    hardware = first.hardware.model_copy(update={"accelerator": "AMD Instinct"})
    result = boards([at("wanda", 0.5, 1.0, hardware=hardware), first])
    assert [board.device for board in result] == ["CPU", "AMD Instinct"]


def test_models_of_one_name_are_told_apart_and_found_by_the_path_of_the_run(at: Make):
    first = at("wanda", 0.5, 40.0)
    models = [
        first.model.model_copy(update={"name": "llama", "source": source, "sha256": digit * 64})
        for source, digit in (("./a/llama", "a"), ("b/llama/", "b"))
    ]
    both = boards([at("wanda", 0.5, 40.0, model=model) for model in models])
    assert [board.model for board in both] == ["llama aaaaaaa", "llama bbbbbbb"]
    assert len({board.title for board in both}) == len({board.place for board in both}) == 2
    for wanted, found in (("a/llama", both[:1]), ("b/llama", both[1:]), ("llama", both)):
        assert Filter(models=(wanted,))(both) == found


def test_board_of_the_protocols_model_is_first(at: Make):
    first = at("wanda", 0.5, 40.0)
    model = first.model.model_copy(update={"name": "a-model", "source": "a-model"})
    model = model.model_copy(update={"sha256": "1" * 64})
    result = boards([at("wanda", 0.5, 1.0, model=model), first])
    assert [board.model for board in result] == ["smollm2-135m", "a-model"]


def test_protocol_fields_without_effect_on_numbers_do_not_split_a_board(at: Make):
    first = at("wanda", 0.5, 40.0)
    protocol = first.protocol.model_copy(update={"batch_size": 1, "about": "the same"})
    other = at("wanda", 0.7, 50.0, protocol=protocol)
    assert len(one_board([first, other]).rows) == 2


def test_boards_of_one_title_are_ordered_by_their_oldest_record(at: Make):
    first = at("wanda", 0.5, 40.0)
    for days, order in ((1, [40, 1]), (-1, [1, 40])):
        date = first.date + timedelta(days=days)
        other = at("wanda", 0.5, 1.0, date=date, **of_protocol(first))
        result = [board.rows[0].value(WIKIPEDIA).mean for board in boards([other, first])]
        assert result == order


def test_rows_are_sorted_by_family_share_and_perplexity(at: Make, made_up: Make):
    fewer = made_up().footprint.model_copy(update={"bits": 1.5})
    pattern = {"sparsity": 0.5, "pattern": "2:4"}
    kinds = {"granularity": ("kv-groups", "channels")}
    board = one_board(
        [
            at("reap", 0.2, 4.0, granularity=("experts",)),
            at("teal", 0.5, 5.0, granularity=("activations",)),
            at("pbs2p", 0.5, 10.0, configuration=pattern, footprint=fewer),
            at("shortgpt", 0.1, 25.0, granularity=("blocks",)),
            at("flap", 0.2, 30.0, **kinds),
            at("wanda", 0.5, 90.0, configuration=pattern),
            at("wanda", 0.7, 80.0),
            at("magnitude", 0.5, 50.0),
            at("wanda", 0.5, 40.0),
        ]
    )
    assert [row.value(WIKIPEDIA).mean for row in board.rows] == [40, 50, 80, 90, 30, 25, 10, 5, 4]
    assert [family for family, _ in board.families] == list(FAMILIES)
    assert board.quantised
    assert not one_board([at("wanda", 0.5, 40.0)]).quantised
