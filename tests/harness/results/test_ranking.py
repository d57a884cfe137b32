"""Ranks: unseen texts, ties and classes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from implementations.harness.prune.registry import get_method
from implementations.harness.results import ranking
from implementations.harness.results.boards import Board, Spread, boards
from implementations.harness.results.metric import AGREEMENT, DIVERGENCE, tie
from implementations.harness.results.protocol import CalibrationText, Course, EvaluationText
from implementations.harness.results.ranking import (
    ONE_SHOT,
    QUANTISES,
    RECOVERED,
    TRAINS,
    Loss,
    beside_dense,
    class_of,
    has_divergence,
    loss,
    ranking_metrics,
    ranks,
    revision_of,
    text_kind,
    trained_on,
)
from implementations.harness.results.record import Record, TextInfo
from implementations.harness.results.store import methods
from tests.keyed import changed, with_divergence
from tests.site.conftest import recovered, sample

HEADS = ("kv-groups", "channels")
COURSE = Course(steps=10, read=1000, epochs=0.1, losses=(4.0, 3.0))


def read(record: Record, role: str, source: str) -> Record:
    """Add a text that a record was calibrated or trained on."""
    text = TextInfo(
        role=role,
        source=source,
        source_sha256="a" * 64,
        text_sha256="b" * 64,
        ids_sha256="c" * 64,
        samples=1,
        length=8,
        spans=((0, 8),),
    )
    return changed(record, texts=(*record.texts, text))


def board_of(*records: Record) -> Board:
    (board,) = boards(records)
    return board


def test_the_calibration_text_does_not_rank():
    assert ranking_metrics(board_of(sample("flap", 0.2, 1.5))) == ("ppl/wikipedia/1024",)


def test_the_first_metric_ranks_if_all_texts_were_calibrated_on():
    record = sample("flap", 0.2, 1.5)
    c4 = EvaluationText(text="c4-validation", length=1024)
    protocol = record.protocol.model_copy(update={"evaluations": (c4,)})
    values = {c4.metric: 30.0}
    dense = record.dense.model_copy(update={"values": {c4.metric: 20.0}})
    board = board_of(changed(record, protocol=protocol, values=values, dense=dense))
    assert ranking_metrics(board) == (c4.metric,)


@pytest.mark.parametrize(
    ("calibrated", "names"),
    [("my-notes.txt", ("ppl/my-news/1024",)), ("my-news.txt", ("ppl/c4/1024",))],
)
def test_own_text_ranks_unless_it_was_calibrated_on(calibrated: str, names: tuple[str, ...]):
    record = sample("flap", 0.2, 1.5)
    own = EvaluationText(text="my-news.txt", length=1024)
    c4 = EvaluationText(text="c4", length=1024)
    calibration = CalibrationText(text=calibrated, samples=1, length=1024)
    used = (own,) if calibrated == "my-notes.txt" else (own, c4)
    update = {"calibration": calibration, "evaluations": used}
    values = {evaluation.metric: 30.0 for evaluation in used}
    dense = record.dense.model_copy(update={"values": dict.fromkeys(values, 20.0)})
    protocol = record.protocol.model_copy(update=update)
    board = board_of(changed(record, protocol=protocol, values=values, dense=dense))
    assert ranking_metrics(board) == names
    measured = loss(board.rows[0], board)
    assert measured
    assert measured.mean == pytest.approx(1.5)


def test_the_loss_is_the_mean_over_the_ranking_texts():
    record = sample("flap", 0.2, 1.5)
    other = EvaluationText(text="news.txt", length=1024)
    protocol = record.protocol.model_copy(
        update={"evaluations": (*record.protocol.evaluations, other)}
    )
    values = record.values | {other.metric: 25.0}
    dense = record.dense.model_copy(update={"values": record.dense.values | {other.metric: 10.0}})
    board = board_of(changed(record, protocol=protocol, values=values, dense=dense))
    assert ranking_metrics(board) == ("ppl/wikipedia/1024", "ppl/news/1024")
    found = loss(board.rows[0], board)
    assert found
    assert found.mean == pytest.approx((1.5 + 2.5) / 2)


def test_divergence_and_agreement_are_means_over_the_ranking_texts_and_seeds():
    record = with_divergence(sample("flap", 0.2, 1.5), 0.5, 0.7)
    on_c4 = {"kl/c4/1024": 9.0, "agreement/c4/1024": 0.1}  # the calibration text does not count
    seeds = [
        changed(record, values=record.values | on_c4),
        with_divergence(sample("flap", 0.2, 1.5, seed=1), 0.3, 0.8),
    ]
    board = board_of(*seeds)
    assert has_divergence(board)
    (row,) = board.rows
    assert beside_dense(row, board, DIVERGENCE) == Spread(0.4, pytest.approx(0.02**0.5))
    assert beside_dense(row, board, AGREEMENT).mean == pytest.approx(0.75)
    # One seed was measured before runs had these values.
    board = board_of(seeds[0], sample("flap", 0.2, 1.5, seed=1))
    assert not has_divergence(board)
    assert beside_dense(board.rows[0], board, AGREEMENT) is None


def test_divergence_after_a_prompt():
    values = {"after_prompt/wikipedia/1024": 30.0}
    record = with_divergence(changed(sample("griffin", 0.2, 1.5), values=values), 0.5, 0.7)
    assert "kl_after_prompt/wikipedia/1024" in record.values
    board = board_of(record)
    assert beside_dense(board.rows[0], board, DIVERGENCE) == Spread(0.5)


@pytest.mark.parametrize(
    ("role", "source", "kinds"),
    [
        ("domain", "wikipedia", ("wikipedia",)),
        ("training", "wikitext2-train", ("wikipedia",)),
        ("domain", "code", ()),
        ("training", "c4-train", ()),
        ("calibration", "c4", ()),
    ],
)
def test_training_on_the_ranking_text_costs_the_rank(role: str, source: str, kinds: tuple[str]):
    board = board_of(read(sample("atp", 0.2, 1.5), role, source))
    assert trained_on(board.rows[0], board) == kinds
    assert (loss(board.rows[0], board) is None) == bool(kinds)


@pytest.mark.parametrize(("ratios", "collapsed"), [((20.0, 70.0), False), ((40.0, 90.0), True)])
def test_a_row_collapses_by_the_mean_over_its_seeds(ratios: tuple[float, ...], collapsed: bool):
    seeds = [sample("random", 0.2, ratio, seed=seed) for seed, ratio in enumerate(ratios)]
    board = board_of(*seeds)
    (row,) = board.rows
    assert row.collapsed == collapsed
    assert (loss(row, board) is None) == collapsed


@pytest.mark.parametrize(
    ("achieved", "ranked"), [(0.5, True), (0.481, True), (0.403, False), (0.52, True)]
)
def test_a_row_that_removed_clearly_less_than_requested_has_no_rank(achieved: float, ranked: bool):
    record = changed(sample("denoiserotator", 0.5, 1.5), achieved=achieved)
    board = board_of(record)
    assert (loss(board.rows[0], board) is not None) == ranked


def test_quantised_results_are_ranked_among_each_other():
    plain = sample("flap", 0.5, 1.5)
    bits = plain.footprint.model_copy(update={"bits": 1.5})
    board = board_of(changed(plain, footprint=bits))
    assert loss(board.rows[0], board) is not None


def test_classes():
    plain = sample("flap", 0.2, 1.5, granularity=HEADS)
    trained = changed(plain, course=COURSE)
    bits = plain.footprint.model_copy(update={"bits": 1.5})
    prompted = changed(plain, values={"after_prompt/wikipedia/1024": 30.0})
    drops = changed(plain, granularity=("activations",))
    quantised = changed(plain, footprint=bits)
    expected = {
        ONE_SHOT: plain,
        TRAINS: trained,
        RECOVERED: recovered(plain),
        QUANTISES: quantised,
        "after a prompt": prompted,
        "activation sparsity": drops,
    }
    found = [class_of(board_of(record).rows[0]) for record in expected.values()]
    assert found == list(expected)
    assert class_of(board_of(changed(prompted, granularity=drops.granularity)).rows[0]) == found[-1]


def test_losses_within_the_noise_share_ranks():
    losses = {"a": Loss(2.00), "b": Loss(2.09), "c": Loss(2.17), "d": Loss(3.0)}
    # a and c differ by 8 %, but b cannot be told apart from either.
    assert {name: str(rank) for name, rank in ranks(losses).items()} == {
        "a": "1–2",
        "b": "1–3",
        "c": "2–3",
        "d": "4",
    }


def test_the_noise_grows_with_the_damage():
    """5 % of the added cross-entropy: 1 % at 1.2 times dense, and 16 % at 31 times."""
    assert [round(tie(ratio), 3) for ratio in (0.9, 1.0, 1.2, 2, 10, 31)] == [
        *(0.002, 0.002, 0.009, 0.034, 0.109, 0.158)
    ]
    assert Loss(1.19, tie=tie(1.19)).clearly_below(Loss(1.22, tie=tie(1.22)))
    assert not Loss(28.6, tie=tie(28.6)).clearly_below(Loss(31.2, tie=tie(31.2)))


def test_seeds_decide_instead_of_the_five_percent_if_both_have_three():
    steady, other = Loss(2.00, 0.01), Loss(2.04, 0.02)
    assert steady.clearly_below(other)
    assert not steady.clearly_below(Loss(2.04))
    wide = Loss(2.5, 0.6)
    assert not steady.clearly_below(wide)
    assert steady.clearly_below(Loss(2.5))


def test_the_spread_counts_from_three_seeds():
    seeds = [sample("flap", 0.2, 1.5 + seed / 10, seed=seed) for seed in range(3)]
    for count, known in ((2, False), (3, True)):
        board = board_of(*seeds[:count])
        found = loss(board.rows[0], board)
        assert found
        assert (found.deviation is not None) == known


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("c4-train", "c4"),
        ("c4", "c4"),
        ("wikitext2", "wikipedia"),
        ("wikitext2-train", "wikipedia"),
        ("c4-like.txt", "c4-like.txt"),
        ("my-notes.jsonl", "my-notes.jsonl"),
    ],
)
def test_kinds_of_text(source: str, kind: str):
    assert text_kind(source) == kind


def test_records_of_older_code_are_not_ranked(at: Callable[..., Record], monkeypatch):
    records = [at("wanda", 0.5, 30.0), at("ria", 0.5, 40.0)]
    (board,) = boards(records)
    assert all(loss(row, board) for row in board.rows)
    monkeypatch.setattr(ranking, "revision_of", {"wanda": 2, "ria": 1}.__getitem__)
    assert [row.method for row in board.rows if loss(row, board) is None] == ["wanda"]
    monkeypatch.setattr(ranking, "MEASUREMENT", 2)
    assert not any(loss(row, board) for row in board.rows)


def test_the_revision_of_a_method_is_that_of_its_class():
    for slug in methods():
        assert revision_of(slug) == get_method(slug).revision
