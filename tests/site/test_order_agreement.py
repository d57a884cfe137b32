"""Orders of methods by perplexity and by divergence."""

from __future__ import annotations

import pytest

from implementations.harness.results.boards import boards
from implementations.harness.results.record import Record
from tests.keyed import with_divergence
from tests.site.conftest import sample
from tools.site.answers import Ranking
from tools.site.atlas import Atlas
from tools.site.order_agreement import OUTCOMES, OrderAgreement, order_agreement


def measured(method: str, ratio: float, divergence: float, seed: int = 0) -> Record:
    record = sample(method, 0.2, ratio, seed=seed, granularity=("channels",))
    return with_divergence(record, divergence, 0.7)


def compared(*records: Record) -> OrderAgreement:
    (board,) = boards(records)
    return order_agreement(Ranking(board, Atlas({}, {})))


@pytest.mark.parametrize(
    ("ratio", "divergence", "outcome"),
    [
        (1.5, 0.6, "in the same order"),
        (1.5, 0.3, "in opposite order"),
        (1.26, 0.6, "ordered by KL only"),
        (1.24, 0.6, "ordered by KL only"),
        (1.5, 0.49, "ordered by perplexity only"),
        (1.26, 0.51, "equal by both"),
    ],
)
def test_a_pair_is_ordered_if_it_differs_by_more_than_five_percent(
    ratio: float, divergence: float, outcome: str
) -> None:
    found = compared(measured("flap", 1.25, 0.5), measured("slimgpt", ratio, divergence))
    assert [pair.outcome for pair in found.pairs] == [outcome]
    assert dict(zip(OUTCOMES, found.counts, strict=True))[outcome] == sum(found.counts) == 1


def test_the_deviation_over_three_seeds_decides_instead() -> None:
    found = compared(
        *(measured("flap", 1.25, 0.5 + seed / 10, seed=seed) for seed in range(3)),
        *(measured("slimgpt", 1.5, 0.7 + seed / 10, seed=seed) for seed in range(3)),
    )
    # The divergences are 0.6 ± 0.1 and 0.8 ± 0.1.
    assert [pair.outcome for pair in found.pairs] == ["ordered by perplexity only"]


def test_only_ranked_methods_of_one_group_with_a_divergence_are_paired() -> None:
    found = compared(
        measured("flap", 1.25, 0.5),
        measured("slimgpt", 1.5, 0.6),
        measured("cfsp", 1.6, 0.7),
        measured("fasp", 60.0, 9.0),  # collapsed
        sample("twossp", 0.2, 1.5, granularity=("channels",)),  # older
        with_divergence(sample("shortgpt", 0.3, 1.5, granularity=("blocks",)), 0.5, 0.7),
        with_divergence(sample("wanda", 0.2, 1.1), 0.1, 0.9),  # unstructured
    )
    assert [(p.first.answer.method, p.second.answer.method) for p in found.pairs] == [
        ("flap", "slimgpt"),
        ("flap", "cfsp"),
        ("slimgpt", "cfsp"),
    ]
    assert {q.label: dict(counts) for q, counts in found.by_question.items()} == {
        "20 % removed, structured, one-shot": {"in the same order": 3}
    }


def test_opposite_pairs_are_listed_with_the_clearest_first() -> None:
    found = compared(
        measured("flap", 1.25, 0.8),
        measured("slimgpt", 1.5, 0.7),
        measured("cfsp", 2.5, 0.4),
    )
    assert [(p.first.answer.method, p.second.answer.method) for p in found.opposite] == [
        ("flap", "cfsp"),
        ("slimgpt", "cfsp"),
        ("flap", "slimgpt"),
    ]


def test_equal_divergences_of_zero_have_no_order() -> None:
    found = compared(measured("flap", 1.0, 0.0), measured("slimgpt", 1.0, 0.0))
    assert [pair.outcome for pair in found.pairs] == ["equal by both"]
