"""Adapt-Pruner: sparsity of blocks, scores of the shrinking model, stages, training."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from implementations.adaptpruner import AdaptPruner, adaptpruner
from implementations.adaptpruner.adaptpruner import importance, moments, normalised
from implementations.harness import (
    BadInput,
    Calibration,
    LanguageModel,
    Stream,
    Tokens,
    keep_channels,
    keep_kv_groups,
    keep_units,
    perplexity,
    smallest,
    unit_costs,
)
from implementations.harness.contract.helpers import fingerprint
from implementations.harness.contract.tiny import MODEL_TYPES, random_tokens, tiny_model
from tests.observation import sample_gradients

pytestmark = pytest.mark.usefixtures("without_gradients")

every_family = pytest.mark.parametrize("family", list(MODEL_TYPES))
CALIBRATION = Calibration(**vars(random_tokens()), training=Stream(random_tokens(16, seed=2), 5))
TURNS = torch.tensor([0.1, 0.5, 0.2, 0.4], dtype=torch.float64)  # normalised: -1 1 -.5 .5


def wide(**shape: Any) -> LanguageModel:
    """Four blocks of 4 KV heads with 2 query heads each, and 120 channels."""
    heads = {"num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 4}
    return tiny_model(blocks=4, intermediate_size=120, **(heads | shape))


def alone(**settings: Any) -> AdaptPruner:
    """Return Adapt-Pruner without training, in ten steps by default."""
    return AdaptPruner(**({"stages": 0, "steps": 10, "amplitude": 0.1} | settings))


@pytest.fixture
def known_turns(monkeypatch) -> None:
    """Make all measurements equal."""
    monkeypatch.setattr(adaptpruner, "importance", lambda model, samples: TURNS)


@pytest.fixture
def cuts(monkeypatch) -> list[list[list[int]]]:
    """Record the removed units, `[steps][blocks][kinds]`, and remove the first ones."""
    found: list[list[list[int]]] = []

    def record_cut(self, model, samples, lost):
        found.append(lost.tolist())
        for block, (groups, channels) in zip(model.blocks, found[-1], strict=True):
            keep_kv_groups(block.attention, range(groups, block.attention.kv_heads))
            keep_channels(block.feed_forward, range(channels, block.feed_forward.channels))

    monkeypatch.setattr(AdaptPruner, "cut", record_cut)
    return found


# Sparsity of every block


def test_importance_is_centred_with_a_maximum_of_one():
    assert normalised(TURNS).tolist() == pytest.approx([-1, 1, -0.5, 0.5])
    uneven = normalised(torch.tensor([0.0, 0.0, 0.0, 4.0], dtype=torch.float64))
    assert uneven.tolist() == pytest.approx([-1 / 3, -1 / 3, -1 / 3, 1])
    for values in (torch.full((3,), 0.1, dtype=torch.float64), torch.zeros(1)):
        assert normalised(values).tolist() == [0] * len(values)  # not what rounding leaves


@every_family
def test_importance_is_one_minus_the_cosine_of_each_token(family: str):
    model, tokens = tiny_model(family, blocks=3), random_tokens(5)
    seen: list[list[Tensor]] = [[] for _ in model.layers]
    for index, layer in enumerate(model.layers):
        layer.register_forward_hook(
            lambda _, args, kwargs, output, index=index: seen[index].append(
                torch.cosine_similarity(
                    args[0] if args else kwargs["hidden_states"],
                    output[0] if isinstance(output, tuple) else output,
                    dim=-1,
                )
            ),
            with_kwargs=True,
        )
    model.hf(tokens.ids, use_cache=False)
    expected = [1 - float(torch.cat(cosines).mean()) for cosines in seen]
    for layer in model.layers:
        layer._forward_hooks.clear()
    assert importance(model, tokens).tolist() == pytest.approx(expected, abs=1e-5)


def test_sparsity_stays_within_its_bounds():
    method = AdaptPruner(steps=10, amplitude=0.3)
    risen = method.risen(torch.tensor([0.9, 0.1, 0.0, 0.5]).double(), TURNS)
    assert risen.tolist() == pytest.approx([0.99, 0, 0.25, 0.45])


def code_rule(out: int, out0: int, width: int, sparsity: float) -> int:
    """Return the number of units that the official code removes of `out` rows."""
    kept = int(out0 * (1 - sparsity) + 1e-9)
    return max(out - kept, 0) // width


@pytest.mark.usefixtures("known_turns")
@pytest.mark.parametrize("amplitude", [0.0, 0.07, 0.1, 0.15])
def test_full_step_equals_the_official_code(cuts, amplitude: float):
    alone(amplitude=amplitude, sparsity=0.7).apply(wide(), CALIBRATION)
    assert len(cuts) > 5
    left = [[4, 120] for _ in range(4)]
    sparsity = [0.0] * 4
    for lost in cuts[:-1]:
        for b in range(4):
            rise = 0.1 - amplitude * float(normalised(TURNS)[b])
            sparsity[b] = min(max(sparsity[b] + rise, 0), 0.99)
            for kind, width in enumerate((4, 1)):
                rows = left[b][kind] * width
                removed = code_rule(rows, (4, 120)[kind] * width, width, sparsity[b])
                removed = min(removed, left[b][kind] - 1)
                assert lost[b][kind] == removed, (b, kind, sparsity[b])
                left[b][kind] -= removed


@pytest.mark.usefixtures("known_turns")
def test_only_the_last_step_is_shortened(cuts):
    model = wide()
    method, costs = alone(sparsity=0.26), torch.tensor([4 * 32 * (2 * 2 + 2), 3 * 32])
    dense = int(method.costs(model).sum())
    outcome = method.apply(model, CALIBRATION)
    spent = [int((torch.tensor(lost) * costs).sum()) for lost in cuts]
    assert outcome.details["pruning_steps"] == [len(cuts)]
    assert sum(spent[:-1]) < 0.26 * dense
    assert abs(sum(spent) - 0.26 * dense) <= max(costs.tolist()) / 2
    # Which part: every block as far of its own way as the others, 2 : 0 : 1.5 : 0.5.
    channels = torch.tensor(cuts[-1])[:, 1].double()
    way = float(channels[0]) / 2
    assert 0.5 < way / 12 < 0.9
    assert channels[1] == 0
    assert channels[2:].tolist() == pytest.approx([1.5 * way, 0.5 * way], abs=1)


@pytest.mark.usefixtures("known_turns")
@pytest.mark.parametrize(("share", "steps"), [(0.08, 1), (0.275, 3)])
def test_no_step_follows_the_shortened_one(cuts, share: float, steps: int):
    # It ends before a KV group that would take more than is left to take, by over one channel.
    outcome = alone(sparsity=share).apply(wide(), CALIBRATION)
    assert outcome.achieved < share
    assert len(cuts) == steps


def test_step_in_which_a_unit_is_removed():
    removed_at = torch.tensor([0.2, 0.25, 0.3, 0.4, 1.0])
    found = moments(removed_at, torch.tensor(0.2), torch.tensor(0.3))
    assert found.tolist() == pytest.approx([0, 0.5, 1, 1 + 1 / 7, 2])
    still = moments(removed_at, torch.tensor(0.2), torch.tensor(0.2))
    assert float(still.min()) == 1


@pytest.mark.usefixtures("known_turns")
def test_last_step_removes_the_rest(cuts):
    # The second block never gains anything, and is still asked for its share at the end.
    model = wide()
    method = alone(steps=3, amplitude=1 / 3)
    limit = method.max_sparsity(model)
    outcome = method.model_copy(update={"sparsity": limit}).apply(model, CALIBRATION)
    assert cuts[0][1] == cuts[1][1] == [0, 0]
    assert outcome.details["kv_groups"] == outcome.details["channels"] == [1] * 4
    assert outcome.achieved == pytest.approx(limit)


# Selection of units


def backwards(model: LanguageModel, tokens: Tokens) -> list[list[Tensor]]:
    """Score the units of every block, `[blocks][kinds]`, by plain backward passes."""
    found = []
    for block, gradients in zip(model.blocks, sample_gradients(model, tokens), strict=True):
        sizes = {
            role: (linear.weight * gradients[role].mean(dim=0)).abs().double()
            for role, linear in block.linears().items()
        }
        attention = block.attention
        per_group = {"q": attention.group, "k": 1, "v": 1, "o": attention.group}
        groups = torch.zeros(attention.kv_heads, dtype=torch.float64)
        for role, heads in per_group.items():
            rows = sizes[role].sum(dim=1 if role != "o" else 0)
            groups += rows.view(attention.kv_heads, heads * attention.head_size).sum(dim=1)
        channels = sizes["down"].sum(dim=0) + sizes["up"].sum(dim=1)
        if "gate" in sizes:
            channels = channels + sizes["gate"].sum(dim=1)
        found.append([groups, channels])
    return found


@every_family
def test_every_step_removes_the_lowest_scores_of_the_current_model(family, monkeypatch):
    model, done = tiny_model(family, blocks=3, dtype=torch.float64), []
    cut = AdaptPruner.cut

    def checked(self, model, samples, lost):
        before, expected = copy.deepcopy(model), backwards(model, samples)
        cut(self, model, samples, lost)
        for was, block, counts, both in zip(
            before.blocks, model.blocks, lost.tolist(), expected, strict=True
        ):
            for kind, count, units in zip(self.kinds, counts, both, strict=True):
                stay = units.argsort()[count:].sort().values
                done.append((kind, count))
                if kind == "channels":
                    old, new = was.feed_forward.up.weight, block.feed_forward.up.weight
                else:
                    size = block.attention.head_size
                    old, new = was.attention.k.weight, block.attention.k.weight
                    stay = (stay[:, None] * size + torch.arange(size)).flatten()
                assert torch.equal(new, old[stay])

    monkeypatch.setattr(AdaptPruner, "cut", checked)
    method = alone(steps=4)
    method.model_copy(update={"sparsity": 0.9 * method.max_sparsity(model)}).apply(
        model, CALIBRATION
    )
    assert len(done) >= 3 * 2 * 3
    for kind in ("kv-groups", "channels"):
        several = kind == "channels" or family != "qwen3"
        assert any(count for name, count in done if name == kind) == several


# Repeated measurements


def test_every_step_measures_the_current_model_on_new_samples(monkeypatch):
    drawn: list[Tokens] = []
    widths: list[int] = []

    def watched(model: LanguageModel, samples: Tokens) -> Tensor:
        drawn.append(samples)
        widths.append(sum(block.feed_forward.channels for block in model.blocks))
        return importance(model, samples)

    read = []
    cut = AdaptPruner.cut

    def reads(self, model, samples, lost):
        read.append(samples)
        cut(self, model, samples, lost)

    monkeypatch.setattr(adaptpruner, "importance", watched)
    monkeypatch.setattr(AdaptPruner, "cut", reads)
    outcome = alone(samples=2).apply(wide(), CALIBRATION)
    assert outcome.details["pruning_steps"] == [len(drawn)]
    assert widths == sorted(set(widths), reverse=True)
    assert all(len(samples.ids.unique(dim=0)) == 2 for samples in drawn)  # none twice
    assert len({samples.sha256 for samples in drawn}) > 1
    assert all(a is b for a, b in zip(drawn, read, strict=True))
    drawn.clear()
    alone(samples=7).apply(wide(), CALIBRATION)
    assert all(torch.equal(samples.ids, CALIBRATION.ids) for samples in drawn)


# Stages


def trained(**settings: Any) -> AdaptPruner:
    small = {"steps": 10, "amplitude": 0.1, "stages": 3, "updates": 12, "batch": 2}
    return AdaptPruner(**(small | settings))


def test_updates_of_a_stage_are_proportional_to_its_number():
    assert AdaptPruner(stages=5, updates=150).milestones() == [0, 10, 30, 60, 100, 150]
    for stages, updates in ((1, 1), (5, 15), (5, 100), (20, 1000)):
        done = AdaptPruner(stages=stages, updates=updates).milestones()
        assert done[-1] == updates
        for k, (before, after) in enumerate(pairwise(done), start=1):
            assert after - before == pytest.approx(2 * k * updates / (stages * (stages + 1)), abs=1)


def test_one_schedule_runs_over_all_stages():
    plans = AdaptPruner(stages=4, updates=100, learning_rate=1e-3, end=0.2).plans()
    factors = [plan.factor(step) for plan in plans for step in range(plan.steps)]
    assert [plan.steps for plan in plans] == [10, 20, 30, 40]
    assert factors[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1])
    assert factors[5:91] == [1] * 86
    assert factors[90:] == pytest.approx([1 - 0.08 * k for k in range(10)])
    assert {plan.rate for plan in plans} == {1e-3}


@pytest.fixture
def story(monkeypatch) -> list[Any]:
    """Record pruning goals and training plans in order."""
    found: list[Any] = []
    narrow, train = AdaptPruner.narrow, AdaptPruner.train

    def narrows(self, model, calibration, goal):
        found.append(goal)
        return narrow(self, model, calibration, goal)

    def trains(self, model, stream, plan):
        found.append(plan.steps)
        return train(self, model, stream, plan)

    monkeypatch.setattr(AdaptPruner, "narrow", narrows)
    monkeypatch.setattr(AdaptPruner, "train", trains)
    return found


def test_goals_fall_evenly_and_training_follows_each(story):
    model = wide()
    method = trained(sparsity=0.3)
    dense = int(method.costs(model).sum())
    outcome = method.apply(model, CALIBRATION)
    assert story[::2] == pytest.approx([0.9 * dense, 0.8 * dense, 0.7 * dense])
    assert story[1::2] == [2, 4, 6]
    assert len(outcome.details["pruning_steps"]) == 3
    assert outcome.course.steps == 12
    assert outcome.course.read == 12 * 2 * 24
    assert outcome.course.epochs == pytest.approx(24 / 16)


def test_one_stage_prunes_once_and_zero_stages_do_not_train(story):
    trained(stages=1).apply(wide(), CALIBRATION)
    assert [type(value) for value in story] == [float, int]
    story.clear()
    assert trained(stages=0).apply(wide(), CALIBRATION).course is None
    assert len(story) == 1


def test_only_training_needs_a_32_bit_model():
    half = wide(dtype=torch.bfloat16)
    with pytest.raises(BadInput, match="--dtype float32"):
        trained(stages=1).apply(half, CALIBRATION)
    alone().apply(half, CALIBRATION)
    assert half.dtype == torch.bfloat16


@pytest.mark.usefixtures("known_turns")
def test_each_stage_counts_sparsity_from_its_own_start(cuts):
    # Of 4 KV heads the first goes above 3/16, which no stage of 10 % comes to.
    outcome = trained(sparsity=0.2, stages=2, steps=40, amplitude=0.0).apply(wide(), CALIBRATION)
    assert outcome.details["kv_groups"] == [4] * 4
    once = trained(sparsity=0.2, stages=1, steps=40, amplitude=0.0).apply(wide(), CALIBRATION)
    assert max(once.details["kv_groups"]) == 3
    begin = 1 + [sum(map(sum, lost)) for lost in cuts].index(12)  # behind the first of 3 a block
    assert cuts[begin - 1] == [[0, 3]] * 4


def test_all_parameters_are_trained_on_every_window_once(monkeypatch):
    model, read = wide(), []
    dense = fingerprint(model)
    loss = adaptpruner.next_token_loss

    def watched(model: LanguageModel, ids: Tensor) -> Tensor:
        assert model.hf.training
        assert all(parameter.requires_grad for parameter in model.hf.parameters())
        read.append(ids)
        return loss(model, ids)

    monkeypatch.setattr(adaptpruner, "next_token_loss", watched)
    model.hf.requires_grad_(False)
    trained(sparsity=0.0, updates=8, at_once=2, learning_rate=1e-3).apply(model, CALIBRATION)
    for name, tensor in fingerprint(model).items():
        assert tensor.shape == dense[name].shape
        assert "rotary" in name or not torch.equal(tensor, dense[name]), name
    text = CALIBRATION.training.windows.ids
    assert torch.cat(read).unique(dim=0).shape == text.unique(dim=0).shape
    assert not any(parameter.requires_grad for parameter in model.hf.parameters())


# Invalid input, and removed parts


def test_refuses_invalid_input_before_any_work():
    model = tiny_model()
    for settings, named in (
        ({"stages": 5, "updates": 7}, "updates=7 is too few .* at least 15, or use fewer stages"),
        ({"batch": 4, "at_once": 3}, "`batch` must be a multiple of `at_once`, got 4 and 3"),
    ):
        with pytest.raises(BadInput, match=named):
            AdaptPruner(**settings).check(model, CALIBRATION)
    short = Calibration(**vars(random_tokens(length=1)), training=CALIBRATION.training)
    with pytest.raises(BadInput, match="adaptpruner needs samples of at least 2 tokens"):
        AdaptPruner().check(model, short)
    with pytest.raises(BadInput, match="needs training text"):
        AdaptPruner(stages=0).check(model, random_tokens())


@pytest.mark.model
def test_on_real_blocks_it_beats_random_units_and_training_helps(first_blocks, monkeypatch):
    def pruned(**settings: Any) -> LanguageModel:
        model = copy.deepcopy(first_blocks.dense)
        alone(steps=8, amplitude=0.05, **settings).apply(model, first_blocks.short)
        return model

    def cut_at_random(self: AdaptPruner, model: LanguageModel, _: Tokens, lost: Tensor) -> None:
        for block in model.blocks:
            for kind, count in zip(self.kinds, lost[block.index].tolist(), strict=True):
                scores = torch.rand(len(unit_costs(block, kind)))
                keep_units(block, kind, ~smallest(scores, count))

    def error(model: LanguageModel) -> float:
        moved = first_blocks.run(model) - first_blocks.outputs
        return float(moved.square().sum() / first_blocks.outputs.square().sum())

    once = pruned()
    trained = pruned(stages=2, updates=6, batch=1, learning_rate=1e-4)
    ahead = first_blocks.ahead
    assert perplexity(trained, ahead).value < perplexity(once, ahead).value
    monkeypatch.setattr(AdaptPruner, "cut", cut_at_random)
    assert error(once) < error(pruned())
