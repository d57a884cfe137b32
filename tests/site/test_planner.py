"""The planner: memory of published runs, models of other sizes, and which runs fit."""

from __future__ import annotations

import shlex
from statistics import median

import pytest
import typer

from implementations.harness.cli.commands import app
from tools.site import planner, run_plans
from tools.site.answers import first_ranking
from tools.site.atlas import Atlas
from tools.site.method_candidates import PATTERN, candidates
from tools.site.planner import GB, SHAPES, Cost, Request
from tools.site.run_plans import Plan, Planned, Question
from tools.site.targets import TARGETS, VERDICTS


@pytest.fixture(scope="module")
def costs(real: Atlas) -> dict[str, Cost]:
    """The costs of all methods with published records, random baselines included."""
    found = {slug: planner.cost(method) for slug, method in real.methods.items()}
    return {slug: one for slug, one in found.items() if one}


@pytest.fixture(scope="module")
def methods(real: Atlas) -> list[Planned]:
    ranking = first_ranking(real)
    assert ranking
    return run_plans.planned(candidates(real, ranking.shares), real)


def answers(methods: list[Planned], question: Question) -> dict[str, Plan]:
    return {one.method.slug: one for one in run_plans.plans(methods, question)}


def test_estimated_memory_is_close_to_the_published_peaks(costs: dict[str, Cost]) -> None:
    ratios = {slug: planner.measured_ratios(cost) for slug, cost in costs.items()}
    assert len(ratios) > 30
    outside = {slug: median(ones) for slug, ones in ratios.items() if not 0.6 < median(ones) < 1.6}
    assert outside == {}


def test_no_run_with_the_planned_settings_needed_twice_the_estimate(
    costs: dict[str, Cost],
) -> None:
    low = {
        record.name: ratio
        for cost in costs.values()
        for record in cost.basis.records
        if (ratio := planner.measured_ratio(cost, record)) < 0.5
    }
    assert low == {}


@pytest.mark.parametrize("known", SHAPES, ids=lambda one: one.name)
def test_shapes_have_the_parameters_of_their_models(known: planner.Shape) -> None:
    letters = known.letters
    parameters = letters["L"] * letters["B"] + letters["e"]
    assert planner.shape(known.billions) == known
    assert parameters == pytest.approx(known.billions * 1e9, rel=0.25)  # 1.24 billion is "1B"


def test_sizes_between_known_models_are_scaled() -> None:
    parameters = []
    for billions in (9, 10, 11, 20, 100):
        letters = planner.shape(billions).letters
        parameters.append(letters["L"] * letters["B"] + letters["e"])
        assert parameters[-1] == pytest.approx(billions * 1e9, rel=0.15)
    assert parameters == sorted(parameters)


def test_training_all_weights_needs_gradients_and_two_moments(costs: dict[str, Cost]) -> None:
    run = planner.estimate(costs["adaptpruner"], Request(billions=7, memory=24))
    weights = run.parts["weights"]
    assert weights == pytest.approx(2 * 6.74e9, rel=0.01)
    assert run.parts["gradients and optimiser"] == 3 * weights  # 40 GB beside 13.5 GB
    assert run.placement.whole


def test_gram_matrices_grow_with_the_square_of_the_width(costs: dict[str, Cost]) -> None:
    small, large = (
        planner.estimate(costs["sparsegpt"], Request(billions=size, memory=1000)).parts
        for size in (6, 7)
    )
    width = (7 / 6) ** (1 / 3)
    assert large["Gram matrices"] / small["Gram matrices"] == pytest.approx(width**2)
    assert "Gram matrices" not in planner.estimate(costs["wanda"], Request()).parts


def test_a_model_larger_than_the_gpu_is_moved_layer_by_layer(costs: dict[str, Cost]) -> None:
    fits = planner.estimate(costs["wanda"], Request(billions=7, memory=24))
    moved = planner.estimate(costs["wanda"], Request(billions=7, memory=8))
    assert fits.placement.options == "--dtype bfloat16 --device cuda"
    assert moved.placement.options == "--dtype bfloat16 --device cpu --accelerator cuda"
    assert moved.peak < 8 * GB < fits.peak
    assert moved.host > fits.host
    assert moved.seconds > fits.seconds
    trained = planner.estimate(costs["displlm"], Request(billions=7, memory=8))
    assert trained.placement.whole


def test_time_is_that_of_the_records_on_their_machine(
    costs: dict[str, Cost], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = planner.DEVICES["cpu"]._replace(rate=planner.RECORDS_RATE)
    monkeypatch.setitem(planner.DEVICES, "cpu", own)
    request = Request(billions=0.135, memory=16, device="cpu", protocol="smol")
    for slug in ("wanda", "flap", "displlm", "evop", "llmpruner"):
        cost = costs[slug]
        letters = request.letters(own.placements[0], cost)
        pruning = sum(one.value(letters) for one in cost.work if one.label == "pruning")
        assert pruning / own.rate == pytest.approx(cost.basis.seconds, rel=1e-3)


def test_only_passes_over_the_calibration_set_grow_with_it(costs: dict[str, Cost]) -> None:
    def seconds(slug: str, protocol: str) -> float:
        request = Request(billions=7, memory=80, protocol=protocol)
        letters = request.letters(planner.DEVICES["consumer"].placements[0], costs[slug])
        return sum(one.value(letters) for one in costs[slug].work if one.label == "pruning")

    ratios = {
        slug: seconds(slug, "paper") / seconds(slug, "smol")
        for slug in ("wanda", "llmpruner", "displlm", "magnitude")
    }
    assert ratios == pytest.approx({"wanda": 8, "llmpruner": 2, "displlm": 2, "magnitude": 1})


def test_seven_billion_on_24_gb_in_an_hour_at_30_per_cent(methods: list[Planned]) -> None:
    found = run_plans.plans(methods, Question())
    fitting = [one for one in found if not one.reason]
    assert len(fitting) > 15
    first = fitting[0]
    assert first.verdict.gain
    assert first.loss.endswith("at 30\N{NO-BREAK SPACE}%")
    assert first.command.startswith(
        f"atlas run {first.method.slug} --model my-model --sparsity 0.3"
    )
    reasons = {one.method.slug: one.reason for one in found if one.reason}
    assert reasons["adaptpruner"].startswith("needs 70")
    assert "gradients and optimiser 40.4 GB" in reasons["adaptpruner"]
    assert {"displlm", "loraprune", "ast", "dpruner"} <= reasons.keys()
    assert not {"wanda", "sparsegpt", "flap", "shortgpt"} & reasons.keys()


def test_methods_that_gain_come_first_and_collapsed_ones_last(methods: list[Planned]) -> None:
    fitting = [one for one in run_plans.plans(methods, Question()) if not one.reason]
    gains = [bool(one.verdict.gain) for one in fitting]
    assert gains == sorted(gains, reverse=True)
    smaller = [one for one in fitting if one.verdict.gain]
    collapsed = ["collapsed" in one.loss for one in smaller]
    assert collapsed == sorted(collapsed)
    at_30 = [one.rank[-1] for one in smaller if one.loss.endswith("at 30\N{NO-BREAK SPACE}%")]
    assert len(at_30) > 5
    assert at_30 == sorted(at_30)


def test_what_to_remove_and_where_to_run_exclude_methods(methods: list[Planned]) -> None:
    units = answers(methods, Question(removes="units"))
    assert units["wanda"].reason == "sets single weights to zero"
    assert units["flap"].reason == ""
    pattern = answers(methods, Question(removes=PATTERN, target="sparse"))
    assert pattern["flap"].reason == "does not support 2:4"
    assert "--pattern 2:4" in pattern["wanda"].command
    assert "--sparsity" not in pattern["wanda"].command
    assert pattern["wanda"].verdict.gain
    assert not answers(methods, Question(removes=PATTERN))["wanda"].verdict.gain
    gguf = answers(methods, Question(target="gguf"))
    assert "cannot convert" in gguf["flap"].reason
    assert gguf["shortgpt"].verdict.gain
    assert not gguf["shortgpt"].reason
    assert not gguf["wanda"].verdict.gain


def test_every_command_is_accepted_by_the_command_line(methods: list[Planned]) -> None:
    run = typer.main.get_command(app).commands["run"]  # type: ignore[attr-defined]
    for question in (
        Question(),
        Question(billions=70, removes=PATTERN),
        Question(billions=1, device="cpu", protocol="smol", hours=100),
    ):
        for one in run_plans.plans(methods, question):
            if not one.reason:
                arguments = shlex.split(one.command)[2:]
                parsed = run.make_context("run", arguments, resilient_parsing=False).params
                assert parsed["method"] == one.method.slug


def test_every_result_has_a_verdict_on_every_target() -> None:
    assert all(verdicts.keys() == TARGETS.keys() for verdicts in VERDICTS.values())
