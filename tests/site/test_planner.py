"""The planner: memory of published runs, and the data for the script of the page."""

from __future__ import annotations

from statistics import median

import pytest

from tools.site import planner
from tools.site.atlas import Atlas
from tools.site.planner import SHAPES, Cost
from tools.site.targets import TARGETS, VERDICTS


@pytest.fixture(scope="module")
def costs(real: Atlas) -> dict[str, Cost]:
    """The costs of all methods with published records, random baselines included."""
    found = {slug: planner.cost(method) for slug, method in real.methods.items()}
    return {slug: one for slug, one in found.items() if one}


def test_estimated_memory_is_close_to_the_published_peaks(costs: dict[str, Cost]) -> None:
    ratios = {slug: planner.measured_ratios(cost) for slug, cost in costs.items()}
    assert len(ratios) > 30
    outside = {slug: median(ones) for slug, ones in ratios.items() if not 0.6 < median(ones) < 1.6}
    assert outside == {}


def test_no_run_with_the_planned_settings_needed_twice_the_estimate(
    costs: dict[str, Cost],
) -> None:
    low = {
        f"{cost.method.slug}: {record.name}": ratio
        for cost in costs.values()
        for record in cost.records
        if (ratio := planner.measured_ratio(cost, record)) < 0.5
    }
    assert low == {}


@pytest.mark.parametrize("known", SHAPES, ids=lambda one: one.name)
def test_shapes_have_the_parameters_of_their_models(known: planner.Shape) -> None:
    letters = known.letters
    parameters = letters["L"] * letters["B"] + letters["e"]
    assert parameters == pytest.approx(known.billions * 1e9, rel=0.25)  # 1.24 billion is "1B"


def pruning(cost: Cost, protocol: str) -> float:
    """The operations of pruning SmolLM2 with the calibration set of a protocol."""
    letters = SHAPES[0].letters | dict(zip("ntu", planner.TEXTS[protocol], strict=True))
    return sum(term.value(letters) for term in cost.work if term.label == "pruning")


def test_time_is_that_of_the_records_on_their_machine(costs: dict[str, Cost]) -> None:
    for slug in ("wanda", "flap", "displlm", "evop", "llmpruner"):
        measured = median(record.seconds["prune"] for record in costs[slug].records)
        estimated = pruning(costs[slug], "smol") / planner.RECORDS_RATE
        assert estimated == pytest.approx(measured, rel=1e-3)


def test_only_passes_over_the_calibration_set_grow_with_it(costs: dict[str, Cost]) -> None:
    ratios = {
        slug: pruning(costs[slug], "paper") / pruning(costs[slug], "smol")
        for slug in ("wanda", "llmpruner", "displlm", "magnitude")
    }
    assert ratios == pytest.approx({"wanda": 8, "llmpruner": 2, "displlm": 2, "magnitude": 1})


def test_every_result_has_a_verdict_on_every_target() -> None:
    assert all(verdicts.keys() == TARGETS.keys() for verdicts in VERDICTS.values())
