"""Properties of metrics, and a new metric that is added as one entry."""

from __future__ import annotations

import pytest

from implementations.harness.results import metric as module
from implementations.harness.results.boards import boards
from implementations.harness.results.metric import (
    ACHIEVED,
    AGREEMENT,
    DIVERGENCE,
    METRICS,
    PERPLEXITY,
    TASK,
    Metric,
    Tolerance,
    beside,
    headings,
    metric,
    percentage,
    significant,
    subject,
    title,
)
from implementations.harness.results.table import order

WIKIPEDIA = "ppl/wikipedia/1024"


@pytest.mark.parametrize(
    ("name", "lower", "label"),
    [
        (WIKIPEDIA, True, "perplexity"),
        ("acc/arc_easy", False, "accuracy"),
        ("acc_norm/arc_easy", False, "acc norm"),
        ("exact_match:strict-match/gsm8k", False, "exact match"),
        ("word_perplexity/wikitext", True, "perplexity per word"),
        ("mean/wanda-7", False, "mean"),
        ("latency/generation", True, "latency"),
    ],
)
def test_direction_and_label_follow_from_the_kind(name, lower, label):
    assert (metric(name).lower_is_better, metric(name).label) == (lower, label)


def test_tolerances_are_unchanged():
    assert PERPLEXITY.tolerance == Tolerance(same_machine=1e-6, elsewhere=1e-2)
    assert ACHIEVED.tolerance == Tolerance(same_machine=1e-9, elsewhere=1e-3)
    for kind in ("acc", "acc_stderr", "samples", "version", "exact_match:strict-match"):
        assert metric(kind).tolerance == TASK.tolerance
    assert TASK.tolerance == Tolerance(same_machine=1e-9, elsewhere=5e-2)


def test_only_metrics_with_a_collapse_factor_collapse():
    assert metric(WIKIPEDIA).collapsed(1000.1, 20)
    assert not metric(WIKIPEDIA).collapsed(1000, 20)
    assert not metric("acc/arc_easy").collapsed(1e300, 0)


def test_headings_omit_accompanying_values():
    names = [WIKIPEDIA, "acc/arc", "acc_stderr/arc", "samples/arc", "version/arc"]
    names += ["exact_match:flexible/gsm8k", "exact_match_stderr:flexible/gsm8k"]
    assert headings(names) == [WIKIPEDIA, "acc/arc", "exact_match:flexible/gsm8k"]


@pytest.mark.parametrize(
    ("name", "text", "full_title"),
    [
        (WIKIPEDIA, "Wikipedia", "Perplexity, Wikipedia"),
        ("ppl/c4/1024", "C4", "Perplexity, C4"),
        ("ppl/wikitext2", "WikiText-2", "Perplexity, WikiText-2"),
        ("acc/winogrande", "Winogrande", "Accuracy, Winogrande"),
        ("acc/arc_easy", "arc_easy", "Accuracy, arc_easy"),
        ("bits_per_byte/c4", "C4", "Cost of the text (bits per byte), C4"),
        ("achieved", "", "The share removed"),
    ],
)
def test_subject_and_title(name, text, full_title):
    assert (subject(name), title(name)) == (text, full_title)


@pytest.mark.parametrize(
    ("perplexity", "divergence", "agreement"),
    [
        (WIKIPEDIA, "kl/wikipedia/1024", "agreement/wikipedia/1024"),
        ("after_prompt/c4/64", "kl_after_prompt/c4/64", "agreement_after_prompt/c4/64"),
    ],
)
def test_divergence_and_agreement_are_named_by_their_perplexity(perplexity, divergence, agreement):
    assert beside(perplexity, DIVERGENCE) == divergence
    assert beside(perplexity, AGREEMENT) == agreement
    assert metric(divergence).kind in METRICS
    assert metric(agreement).kind in METRICS


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.5, "0.500"), (0.012345, "0.0123"), (12.34, "12.3"), (0, "0.00"), (345.6, "346")],
)
def test_divergence_has_three_significant_digits(value: float, text: str):
    assert significant(value) == text


def test_agreement_is_a_percentage():
    assert [percentage(value) for value in (1, 0.7123, 0)] == ["100.0 %", "71.2 %", "0.0 %"]


def test_new_metric_needs_only_one_entry(made_up, monkeypatch):
    """Records, boards and tables use its direction, tolerance, collapse factor and label."""
    from implementations.harness.runs.recording import labels_of

    tolerance = Tolerance(same_machine=1e-6, elsewhere=1e-3)
    new = Metric("gap", "gap", "nats", lower_is_better=True, tolerance=tolerance, collapse=3)
    monkeypatch.setattr(module, "METRICS", METRICS | {"gap": new})
    gap, error = "gap/wikipedia/1024", "gap_stderr/wikipedia/1024"

    def run(share: float, value: float):
        values = {WIKIPEDIA: 30.0, gap: value, error: 0.1}
        dense = made_up().dense.model_copy(update={"values": {WIKIPEDIA: 20.0, gap: 1.0}})
        return made_up(
            requested=share,
            configuration={"sparsity": share},
            values=values,
            dense=dense,
        )

    records = [run(0.5, 2.5), run(0.6, 1.5), run(0.7, 2.0)]
    assert labels_of({gap: 3.5}, {gap: 1.0}) == ("collapsed",)
    assert labels_of({gap: 2.5, error: 9.0}, {gap: 1.0}) == ()
    assert module.metric(gap).tolerance == tolerance
    (board,) = boards(records)
    assert board.metrics == (WIKIPEDIA, "ppl/c4/1024", gap)
    assert board.heading(gap) == "Gap (nats), Wikipedia"
    assert board.heading(WIKIPEDIA) == "Wikipedia"
    (best,) = order([board], "gap")
    assert [row.value(gap).mean for row in best.rows] == [1.5, 2.0, 2.5]
