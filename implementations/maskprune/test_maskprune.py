"""MaskPrune: updates, uniform widths, and masks merged into the weights."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from implementations.harness import (
    BadInput,
    Calibration,
    LanguageModel,
    Stream,
    Tokens,
    adapter_parameters,
    distillation_loss,
    gated,
    keep_channels,
    logits_of,
    low_rank,
    remove_units,
)
from implementations.harness.contract.helpers import calibration_for, logits
from implementations.harness.contract.tiny import MODEL_TYPES, random_tokens, tiny_model
from implementations.harness.model.saving import save_model
from implementations.harness.model.units import count_weights
from implementations.maskprune import MaskPrune, maskprune
from implementations.maskprune.maskprune import MinMax
from implementations.maskprune.masks import bottom, dense, fold, marginal, shrink

pytestmark = pytest.mark.usefixtures("without_gradients")

every_family = pytest.mark.parametrize("family", list(MODEL_TYPES))
KINDS = ("kv-groups", "channels")


def small(**settings) -> MaskPrune:
    return MaskPrune(**(MaskPrune.tiny_settings | settings))


def widths(model: LanguageModel) -> set[tuple[int, int, int]]:
    return {
        (block.attention.heads, block.attention.kv_heads, block.feed_forward.channels)
        for block in model.blocks
    }


# One step of each update


def test_penalises_only_the_smallest_masks():
    masks = torch.tensor([[-0.5, -0.1, 2.0], [-1.0, 3.0, 0.2]])
    shrink(masks, 1, 0.5 * torch.tensor([1.0, 2.0]))  # a rate of 0.5, and each layer's multiplier
    torch.testing.assert_close(masks, torch.tensor([[-0.5, -0.05, 2.0], [-1.0, 3.0, 0.2 / 3]]))
    shrink(masks, 1.5, torch.ones(2))  # the second smallest by half
    torch.testing.assert_close(masks, torch.tensor([[-0.25, -0.05 / 3, 2.0], [-0.5, 3.0, 0.2 / 9]]))


def test_the_cost_of_a_width_and_its_slope():
    masks, one = torch.tensor([[0.5, -0.1, 2.0]]), torch.ones(1)
    assert float(marginal(masks, 0, one)) == pytest.approx(0.01)
    assert float(marginal(masks, 1, one)) == pytest.approx(0.25)
    assert float(marginal(masks, 1, 3 * one)) == pytest.approx(0.75)
    two = torch.tensor([[1.0, 2.0], [3.0, 4.0]])  # the mean over layers
    assert float(marginal(two, 0, torch.tensor([1.0, 0.5]))) == pytest.approx((1 + 4.5) / 2)
    costs = [float(bottom(masks, width)) for width in (0, 0.5, 1, 1.25, 3)]
    assert costs == pytest.approx([0, 0.005, 0.01, 0.01 + 0.25 / 4, 4.26])
    for width in (0.3, 1.7, 2.5):  # between whole numbers too it is the slope of the cost
        slope = (bottom(masks, width + 0.1) - bottom(masks, width)) / 0.1
        assert float(marginal(masks, width, one)) == pytest.approx(float(slope), rel=1e-4)


def problem(model: LanguageModel, **settings) -> MinMax:
    return MinMax(small(**settings), model)


def test_multipliers_follow_constraint_violations():
    one = problem(tiny_model(), sparsity=0.5, steps=10, sorting=0.0)
    one.budget.fill_(10.0)  # both widths move as far as they can, and all that follows uses them
    one.update(9)
    assert one.shares.tolist() == pytest.approx([0.02, 0.02])
    assert float(one.budget) == pytest.approx(10 + 0.98 - 0.5)
    # All masks are 1, so the sum of their squares is the width, and a share of the units is 0.02.
    assert one.pressure.tolist() == [[pytest.approx(1e-3 + 0.5 * 0.02)] * 2] * 2
    before = one.pressure.clone()
    one.shares.fill_(0.9)
    one.budget.fill_(0.2)
    one.by_kind()[1][1] *= 0.5
    one.update(9)
    assert float(one.budget) == 0  # less is left than may be
    assert bool((one.pressure > 0.1).all())
    rise = one.pressure[1] - before[1]  # of each layer by its own masks
    assert float(rise[1] / rise[0]) == pytest.approx(0.25, rel=0.01)
    shares = one.shares.clone()
    one.budget.fill_(5.0)
    one.update(9)
    # A slope is cut off at one, and a unit of each kind stays.
    assert bool((one.shares - shares <= 0.02 + 1e-6).all())
    assert float(one.shares[0]) <= 1 - 1 / one.units[0]


def test_budget_decreases_over_half_the_steps():
    for step, allowed in ((0, 0.9), (2, 0.7), (4, 0.5), (9, 0.5)):
        one = problem(tiny_model(), sparsity=0.5, steps=10, sorting=0.0)
        one.budget.fill_(0)  # no width moves
        one.update(step)
        assert float(one.budget) == pytest.approx(1 - allowed)


def test_masks_are_initialised_by_sorted_importance():
    one = problem(tiny_model(), sparsity=0.5, steps=10, sorting=0.3)
    slopes = torch.randn(len(one.masks))  # signs do not affect the order
    for step in range(3):
        assert one.masks.detach().unique().tolist() == [pytest.approx(0.8)]
        with torch.enable_grad():
            (one.masks * slopes).sum().backward()
        one.scale_gradient(step)
        assert one.masks.grad is not None
        assert not one.masks.grad.any()
        one.update(step)
    assert one.shares.tolist() == [0, 0]
    for masks, slope in zip(one.by_kind(), one.by_kind(slopes), strict=True):
        n = masks.shape[1]
        expected = 0.8 + 0.2 * (1 + torch.arange(n)) / n  # one order in each block
        torch.testing.assert_close(masks.sort(dim=1).values, expected.expand_as(masks))
        assert torch.equal(masks.argsort(dim=1), slope.abs().argsort(dim=1))
    one.update(3)
    assert float(one.budget) > 1e-3


def test_gradients_are_scaled_by_the_largest_so_far():
    one = problem(tiny_model(), sorting=0.0, loss_weight=0.3)
    gradient = torch.randn(len(one.masks)) * 1e-5
    for scale in (1.0, 10.0, 2.0):
        one.masks.grad = None
        with torch.enable_grad():
            for _ in range(2):  # windows of one step, whose gradients are added up
                (one.masks * scale * gradient).sum().backward()
        one.scale_gradient(0)
        assert one.masks.grad is not None
        for ours, given in zip(one.by_kind(one.masks.grad), one.by_kind(gradient), strict=True):
            size = 0.3 if scale != 2.0 else 0.06  # smaller ones stay smaller
            assert float(ours.square().mean().sqrt()) == pytest.approx(size, rel=1e-4)
            torch.testing.assert_close(ours / ours.norm(), given / given.norm())
    # Rounding noise at the minimum of the loss is not amplified.
    still = problem(tiny_model(), sorting=0.0)
    with torch.enable_grad():
        (still.masks * 1e-9).sum().backward()
    still.scale_gradient(0)
    assert still.masks.grad is not None
    assert float(still.masks.grad.abs().max()) < 0.01


# The result


@every_family
def test_every_block_has_the_same_width_and_the_budget_is_met(family: str):
    model = tiny_model(family, blocks=3)
    before = count_weights(model).all
    method = small(sparsity=min(0.6, 0.99 * small().max_sparsity(model)), steps=2)
    method.apply(model, calibration_for(MaskPrune))
    assert len(widths(model)) == 1
    dense = tiny_model(family, blocks=3)
    sizes = method.sizes(dense)[1]
    assert method.largest_unit(dense) == max(sizes)
    channel = sizes[1]
    left = count_weights(model).all
    assert abs(left - (1 - method.sparsity) * before) <= channel / 2 + 1e-6


@pytest.mark.parametrize(("share", "groups"), [(0.0, 0), (0.2, 0), (0.3, 1), (1.0, 1)])
def test_groups_follow_training_and_channels_fill_the_budget(share: float, groups: int):
    model = tiny_model(num_key_value_heads=2)
    lost = MaskPrune(sparsity=0.5).counts_lost(model, torch.tensor([share, 0.0]))
    assert lost[0] == groups  # the nearest number, and one stays
    # Not so many that no channels could make up for them, nor so few.
    most = MaskPrune(sparsity=0.05).counts_lost(model, torch.tensor([1.0, 0.0]))
    assert most[0] == 0
    fewest = MaskPrune(sparsity=0.75).counts_lost(model, torch.tensor([0.0, 0.0]))
    assert fewest[0] == 1


@pytest.mark.parametrize("factors", [True, False])
def test_training_distils_from_the_dense_model(factors, monkeypatch):
    """Record the arguments and results of the training loop."""
    model, ids, masked = tiny_model(blocks=3), random_tokens(4).ids, []
    teacher = logits_of(model, ids)
    method = small(sparsity=0.3, factors=factors, scale=0.5)
    lost = method.counts_lost(model, torch.zeros(2))

    def optimise(groups, loss, stream, plan, before, after) -> list[float]:
        (masks,), *others = [group["params"] for group in groups]
        assert (groups[0]["lr"], plan.rate) == (method.mask_rate, method.learning_rate)
        assert (plan.decay, plan.clip) == ("none", None)  # gradients have a scale of their own
        trained = {id(p) for p in model.hf.parameters() if p.requires_grad}
        assert trained == {id(p) for params in others for p in params}
        assert bool(others) == factors
        if factors:
            adapter = adapter_parameters(model.blocks[0].attention.q)
            assert (len(adapter.A), adapter.scale) == (method.rank, 0.5)
        torch.manual_seed(0)
        masks.copy_(torch.rand(len(masks)) + 0.5)
        masks[torch.rand(len(masks)) < 0.5] *= -1
        for kind, count in zip(problem(model).by_kind(masks), lost, strict=True):
            kind[:, torch.randperm(kind.shape[1])[:count]] = 0
        for group in others:
            for factor in group:
                factor.add_(0.1 * torch.randn(factor.shape))
        value = loss(ids)
        masked.append(logits(model))
        assert float(value) == pytest.approx(
            float(distillation_loss(logits_of(model, ids), teacher)), rel=1e-5
        )
        return [1.0]

    monkeypatch.setattr(maskprune, "optimise", optimise)
    method.apply(model, calibration_for(MaskPrune))
    torch.testing.assert_close(logits(model), masked[0], rtol=1e-4, atol=1e-4)
    assert len(widths(model)) == 1


@every_family
def test_merges_masks_into_the_following_layers(family: str):
    model = tiny_model(family)
    one = problem(model)
    torch.manual_seed(0)
    one.masks.data = torch.rand(len(one.masks)) + 0.5
    removed = torch.rand(len(one.masks)) < 0.3
    removed[:1] = False
    with torch.no_grad(), gated(model, *KINDS) as gates:
        gates.values = one.masks * ~removed
        masked = logits(model)
    with torch.no_grad():
        fold(model, one.by_kind(), KINDS)
        remove_units(model, removed)
    torch.testing.assert_close(logits(model), masked, rtol=1e-4, atol=1e-4)


def test_result_loads_as_a_stock_model(tmp_path: Path):
    model = tiny_model(blocks=3)
    small(sparsity=0.4).apply(model, calibration_for(MaskPrune))
    save_model(model, tmp_path / "pruned")
    stock = AutoModelForCausalLM.from_pretrained(tmp_path / "pruned")
    assert type(stock).__module__.startswith("transformers.")
    assert torch.equal(logits(LanguageModel(stock)), logits(model))


def test_the_teacher_is_the_dense_model():
    model, ids = tiny_model(), random_tokens().ids
    before = logits_of(model, ids)
    with low_rank(model, 2, 1.0) as factors, gated(model, *KINDS) as gates, torch.no_grad():
        gates.values = torch.rand(len(problem(model).masks))
        for factor in factors:
            factor.add_(0.3)
        moved = logits_of(model, ids)
        with dense(gates, factors):
            assert torch.equal(logits_of(model, ids), before)
        assert torch.equal(logits_of(model, ids), moved)
        assert float(distillation_loss(moved, before)) > 0.01


def test_zero_sparsity_penalises_no_mask():
    outcome = small(sparsity=0.0).apply(tiny_model(), calibration_for(MaskPrune))
    assert outcome.details["shares_learned"] == {"kv-groups": 0.0, "channels": 0.0}
    assert outcome.details["multiplier_of_the_budget"] == pytest.approx(1e-3)


def test_removes_the_units_with_the_smallest_curvature(monkeypatch):
    """Train on the loss `sum of c (m - 1)^2 / 2` over the masks, with known `c`."""
    model = tiny_model(blocks=3, num_key_value_heads=4)
    before, one = copy.deepcopy(model), problem(model)
    curvatures = torch.rand(len(one.masks), generator=torch.Generator().manual_seed(0)) + 0.1
    masks: list[torch.Tensor] = []

    def made(*arguments) -> MinMax:
        trained = MinMax(*arguments)
        masks.append(trained.masks)
        return trained

    def loss(*_) -> torch.Tensor:
        return (curvatures * (masks[0] - 1).square()).sum() / 2

    monkeypatch.setattr(maskprune, "MinMax", made)
    monkeypatch.setattr(maskprune, "logits_of", lambda *_: None)
    monkeypatch.setattr(maskprune, "distillation_loss", loss)
    method = small(sparsity=0.2, steps=40, batch=1, sorting=0.1, factors=False)
    method.apply(model, calibration_for(MaskPrune))
    ((_, groups, channels),) = widths(model)
    assert (groups, channels) == (3, 41)
    order = [kind.argsort(dim=1, descending=True) for kind in one.by_kind(curvatures)]
    for index, (now, was) in enumerate(zip(model.blocks, before.blocks, strict=True)):
        kept = [o[index, :n].sort().values for o, n in zip(order, (groups, channels), strict=True)]
        heads = was.attention.v.weight.view(4, -1, 32)  # [groups, head size, hidden]
        assert torch.equal(now.attention.v.weight, heads[kept[0]].flatten(end_dim=1))
        assert torch.equal(now.feed_forward.up.weight, was.feed_forward.up.weight[kept[1]])


def untrained(groups, *_, **__) -> list[float]:
    """Replace the training loop by one that keeps uninformative masks."""
    groups[0]["params"][0].uniform_(0.999, 1.001)
    return [0.0]


# Killed runs and invalid input


def test_blocks_of_different_widths_are_refused():
    model = tiny_model()
    keep_channels(model.blocks[1].feed_forward, range(40))
    with pytest.raises(BadInput, match="those of tiny-llama differ"):
        small().apply(model, calibration_for(MaskPrune))


def test_prunes_only_kv_groups_of_a_model_without_channels():
    model = tiny_model()
    for block in model.blocks:
        keep_channels(block.feed_forward, [])
    small(sparsity=0.5).apply(model, calibration_for(MaskPrune))
    assert widths(model) == {(2, 1, 0)}


@pytest.mark.model
def test_on_real_blocks_trained_masks_beat_random_ones(first_blocks, monkeypatch):
    windows = first_blocks.short.training.windows.ids.view(-1, 32)
    text = Calibration(**vars(first_blocks.ahead), training=Stream(Tokens.from_ids(windows)))

    def moved() -> float:
        model = copy.deepcopy(first_blocks.dense)
        MaskPrune(sparsity=0.3, steps=96, batch=1, sorting=0.2, factors=False).apply(model, text)
        return first_blocks.divergence(model)

    trained = moved()
    monkeypatch.setattr(maskprune, "optimise", untrained)
    assert trained < 0.8 * moved()
