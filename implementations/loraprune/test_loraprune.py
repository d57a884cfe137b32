"""LoRAPrune: estimated gradients, scores, masks during training, whole models."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from implementations.harness import (
    BadInput,
    Block,
    Calibration,
    LanguageModel,
    NumericsError,
    Stream,
    adapter_parameters,
    low_rank,
    next_token_loss,
    optimise,
)
from implementations.harness.contract.helpers import fingerprint, logits, same
from implementations.harness.contract.tiny import MODEL_TYPES, random_tokens, tiny_model
from implementations.harness.model.execution import seeded
from implementations.loraprune import LoRAPrune, loraprune
from implementations.loraprune.loraprune import estimate

every_family = pytest.mark.parametrize("family", list(MODEL_TYPES))

STREAM = Stream(random_tokens(16, seed=2), seed=3)
CALIBRATION = Calibration(**vars(random_tokens()), training=STREAM)


def quick(kind: type[LoRAPrune] = LoRAPrune, **settings: Any) -> LoRAPrune:
    """Configure it for tiny models."""
    return kind(**({"steps": 8, "batch": 2, "every": 1, "learning_rate": 1e-2} | settings))


def trained(
    monkeypatch: pytest.MonkeyPatch, look: Callable[[list[nn.Parameter]], Any]
) -> list[Any]:
    """Inspect the model after training, before merging and removal."""
    seen = []

    def watched(factors: list[nn.Parameter], *arguments: Any, **settings: Any) -> list[float]:
        losses = optimise(factors, *arguments, **settings)
        seen.append(look(factors))
        return losses

    monkeypatch.setattr(loraprune, "optimise", watched)
    return seen


def graded(model: LanguageModel) -> list[nn.Parameter]:
    """Give every factor random values and a random gradient."""
    generator = torch.Generator().manual_seed(0)
    factors = [p for p in model.hf.parameters() if p.requires_grad]
    for factor in factors:
        factor.data.add_(0.1 * torch.randn(factor.shape, generator=generator))
        factor.grad = torch.randn(factor.shape, generator=generator)
    return factors


# The estimate


def test_estimate_is_the_change_of_the_product_in_a_step():
    torch.manual_seed(0)
    A, B = (nn.Parameter(torch.randn(shape).double()) for shape in ((3, 7), (5, 3)))
    G = torch.randn(5, 7).double()
    (G * (B @ A)).sum().backward()
    with torch.no_grad():
        moved = B @ A - (B - B.grad) @ (A - A.grad)
        closed = G @ A.T @ A + B @ B.T @ G - G @ A.T @ B.T @ G
        torch.testing.assert_close(estimate(A, B), moved, rtol=0, atol=1e-12)
        torch.testing.assert_close(estimate(A, B), closed, rtol=0, atol=1e-12)


def test_estimate_equals_the_gradient_at_full_rank():
    model, ids = tiny_model(), random_tokens(2, 12).ids
    with low_rank(model, rank=32, scale=1.0):
        for _, _, linear in model.linears():
            W, A, _, _ = adapter_parameters(linear)
            if A.shape == (32, 32):
                A.data = torch.linalg.qr(torch.randn(32, 32)).Q
            W.requires_grad_(True)
        next_token_loss(model, ids).backward()
        square = [adapter_parameters(x) for _, _, x in model.linears() if x.in_features == 32]
        assert len(square) == 2 * 6
        with torch.no_grad():
            for W, A, B, _ in square:
                torch.testing.assert_close(estimate(A, B), W.grad, rtol=1e-3, atol=1e-6)


# Scores by hand


def of_groups(block: Block, layers: dict[str, Tensor], as_code: bool) -> list[float]:
    """Sum the scores of weights over KV groups and then channels, one unit after another."""
    attention, found = block.attention, []
    keys = attention.head_size
    queries = attention.group * keys
    for kind, count in (("kv", attention.kv_heads), ("channel", block.feed_forward.channels)):
        sums = {}
        for role, values in layers.items():
            width = {"q": queries, "o": queries, "k": keys, "v": keys}.get(role, 1)
            if (role in "qkvo") == (kind == "kv"):
                values = values.T if role in ("o", "down") else values
                sums[role] = [
                    float(values[u * width : (u + 1) * width].sum()) for u in range(count)
                ]
        if as_code:
            for role, values in sums.items():
                norm = math.sqrt(sum(value**2 for value in values))
                sums[role] = [value / norm for value in values]
        found += [sum(values) for values in zip(*sums.values(), strict=True)]
    return found


@pytest.mark.parametrize(
    ("family", "as_code", "criterion"),
    [
        *((family, False, "lora") for family in MODEL_TYPES),
        ("llama", True, "lora"),
        ("llama", False, "gradient"),
        ("llama", True, "gradient"),
        ("llama", False, "magnitude"),
        ("llama", True, "magnitude"),
    ],
)
def test_scores_by_hand(family: str, as_code: bool, criterion: str):
    model = tiny_model(family)
    method = LoRAPrune(criterion=criterion, as_code=as_code)
    with low_rank(model, rank=4, scale=3.0), torch.no_grad():
        graded(model)
        block, layers = model.blocks[1], {}
        for role, linear in block.linears().items():
            W, A, B, _ = adapter_parameters(linear)
            gradient = torch.ones_like(W)
            if criterion == "lora":
                gradient = B.grad @ A + B @ A.grad - B.grad @ A.grad
            elif criterion == "gradient":
                gradient = W.grad = torch.randn(W.shape)
            change = gradient * (W + 3 * B @ A)
            layers[role] = change.abs() if as_code else change**2
        expected = of_groups(block, layers, as_code)
        assert method.score(block).tolist() == pytest.approx(expected, rel=1e-4)


# Training


def test_the_schedule_by_hand():
    method = LoRAPrune()  # 312 steps
    shares = [method.share(step) for step in range(312)]
    assert shares[:32] == [0.0] * 32
    assert shares[32] > 0
    assert 0.5 * shares[40] == pytest.approx(0.0510, abs=5e-5)
    middle = 1 - (1 - (156 - 31.2) / (280.8 - 31.2)) ** 3
    assert shares[156] == pytest.approx(middle) == 0.875
    assert shares[281:] == [1.0] * 31
    assert shares[280] < 1
    assert shares == sorted(shares)


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 15])
@pytest.mark.parametrize("ends", [(0.0, 0.0), (0.1, 0.1), (0.5, 0.5), (1.0, 0.0), (0.0, 1.0)])
def test_last_step_reaches_the_sparsity(steps: int, ends: tuple[float, float]):
    method = LoRAPrune(steps=steps, warmup=ends[0], cooldown=ends[1])
    shares = [method.share(step) for step in range(steps)]
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_masks_follow_averaged_scores(monkeypatch):
    method = quick(sparsity=0.3, steps=10, every=3, warmup=0.2, cooldown=0.2, smoothing=0.7)
    model, scores, calls, counted = tiny_model(blocks=3), [], [], []
    score, mask, counts = LoRAPrune.score, loraprune.mask, LoRAPrune.counts

    def scored(self: LoRAPrune, block: Block) -> Tensor:
        scores.append(score(self, block))
        return scores[-1]

    def masked(gates: Tensor, average: Tensor, lost: int, share: float) -> None:
        before = gates.clone()
        mask(gates, average, lost, share)
        calls.append((len(scores) // 2 - 1, before, gates.clone(), average.clone(), lost, share))

    def counting(*arguments: Any) -> Tensor:
        counted.append(len(scores) // 2 - 1)
        return counts(*arguments)

    monkeypatch.setattr(LoRAPrune, "score", scored)
    monkeypatch.setattr(LoRAPrune, "counts", counting)
    monkeypatch.setattr(loraprune, "mask", masked)
    outcome = method.apply(model, CALIBRATION)
    assert counted == [3]  # once, when masking begins
    refreshed = [calls[i : i + 6] for i in range(0, len(calls), 6)]  # three blocks of two kinds
    # Every third one, and all from the first on in which the whole share is masked.
    assert [each[0][0] for each in refreshed] == [0, 3, 6, 8, 9]
    sizes, closed = [2, 48] * 3, []
    for each in refreshed:
        step = each[0][0]
        unscored = torch.zeros(50)  # the last block loses nothing
        steps = [torch.cat([*scores[2 * i : 2 * i + 2], unscored]) for i in range(step + 1)]
        average = sum(0.3 * 0.7 ** (step - i) * values for i, values in enumerate(steps))
        for part, (_, before, after, seen, lost, share) in enumerate(each):
            torch.testing.assert_close(seen, average.split(sizes)[part])
            assert share == method.share(step)
            assert bool((after <= before).all())
            assert int((after == 0).sum()) == round(share * lost)
            opened = seen.masked_fill(before == 0, -1)
            fallen = opened.argsort(stable=True)[: round(share * lost)]
            assert bool((after[fallen] == 0).all())
        closed.append(sum(int((after == 0).sum()) for _, _, after, *_ in each))
    assert closed == sorted(closed)
    assert 0 == closed[0] < closed[1] < closed[2] < closed[3] == closed[4]
    for block, part in zip(model.blocks, range(0, 6, 2), strict=True):
        assert block.attention.kv_heads == int(refreshed[-1][part][2].sum())
        assert block.feed_forward.channels == int(refreshed[-1][part + 1][2].sum())
    assert outcome.details["channels"][2] == 48


def test_masked_units_stay_masked_if_scores_change():
    gates, scores = torch.ones(4), torch.tensor([3.0, 1.0, 2.0, 4.0])
    loraprune.mask(gates, scores, 3, 0.34)
    assert gates.tolist() == [1, 0, 1, 1]
    loraprune.mask(gates, torch.tensor([0.0, 9.0, 2.0, 4.0]), 3, 2 / 3)
    assert gates.tolist() == [0, 0, 1, 1]


def test_stops_at_a_score_that_is_nan(monkeypatch):
    score, scores = LoRAPrune.score, []

    def scored(self: LoRAPrune, block: Block) -> Tensor:
        scores.append(score(self, block))
        if len(scores) == 5:
            scores[-1].fill_(torch.nan)
        return scores[-1]

    monkeypatch.setattr(LoRAPrune, "score", scored)
    with pytest.raises(NumericsError, match="NaN"):
        quick().apply(tiny_model(), CALIBRATION)
    assert len(scores) == 5


def test_every_block_keeps_one_unit_of_each_kind():
    limit = quick(first=0, last=0).max_sparsity(tiny_model())
    outcome = quick(sparsity=limit, first=0, last=0, steps=2).apply(tiny_model(), CALIBRATION)
    assert (outcome.details["kv_groups"], outcome.details["channels"]) == ([1, 1], [1, 1])


@every_family
def test_result_equals_the_masked_model_with_factors(family: str, monkeypatch):
    model = tiny_model(family, blocks=3)
    with torch.no_grad():
        for _, _, linear in model.linears():
            if linear.bias is not None:
                linear.bias += 0.3
    dense = copy.deepcopy(model)

    def look(factors: list[nn.Parameter]) -> Tensor:
        model.hf.eval()
        assert len(factors) == 2 * len(list(dense.linears()))
        return logits(model)

    seen = trained(monkeypatch, look)
    outcome = quick(sparsity=0.3).apply(model, CALIBRATION)
    assert 0.2 < outcome.achieved < 0.4
    assert not torch.allclose(seen[0], logits(dense), atol=0.1)
    torch.testing.assert_close(logits(model), seen[0], rtol=1e-4, atol=1e-4)
    assert {type(x) for _, _, x in model.linears()} == {nn.Linear}
    for was, block in zip(dense.blocks, model.blocks, strict=True):  # trained, not only cut
        assert not torch.equal(was.attention.o.weight, block.attention.o.weight)


def test_zero_sparsity_is_plain_lora():
    ours, plain = tiny_model("opt"), tiny_model("opt")  # which drops out while it is trained
    method = quick(sparsity=0.0, rank=4, scale=1.5)
    outcome = method.apply(ours, CALIBRATION, seed=5)
    with seeded(5):
        plain.hf.train()
        with low_rank(plain, 4, 1.5) as factors:
            plan = dataclasses.replace(method.plan, clip=1.0)
            losses = optimise(factors, lambda ids: next_token_loss(plain, ids), STREAM, plan)
        plain.hf.eval()
    assert outcome.course is not None
    assert list(outcome.course.losses) == losses
    assert same(fingerprint(ours), fingerprint(plain))


def test_schedule_is_cosine_without_warmup():
    plan = LoRAPrune().plan
    assert (plan.steps, plan.batch, plan.rate) == (312, 128, 1e-4)
    assert [plan.factor(step) for step in (0, 156)] == pytest.approx([1, 0.5])


@pytest.mark.parametrize("criterion", ["lora", "magnitude"])
def test_large_weights_never_get_a_gradient(criterion: str, monkeypatch):
    model, score, seen = tiny_model(), LoRAPrune.score, []

    def scored(self: LoRAPrune, block: Block) -> Tensor:
        with_gradient = [p for p in model.hf.parameters() if p.grad is not None]
        assert all(p.requires_grad for p in with_gradient)
        seen.append(sum(p.numel() for p in with_gradient))
        for _, _, linear in model.linears():
            weight = adapter_parameters(linear).weight
            assert not weight.requires_grad
            assert weight.grad is None
        return score(self, block)

    monkeypatch.setattr(LoRAPrune, "score", scored)
    quick(criterion=criterion, rank=4).apply(model, CALIBRATION)
    assert seen == [4 * sum(sum(x.weight.shape) for _, _, x in tiny_model().linears())] * 8


def test_the_gradient_itself_is_that_of_one_step(monkeypatch):
    model, score, seen = tiny_model(), LoRAPrune.score, []

    def scored(self: LoRAPrune, block: Block) -> Tensor:
        gradient = adapter_parameters(model.blocks[0].feed_forward.up).weight.grad
        assert gradient is not None
        seen.append(gradient.clone())
        return score(self, block)

    monkeypatch.setattr(LoRAPrune, "score", scored)
    method = quick(criterion="gradient", batch=16, learning_rate=1e-12, sparsity=0.0)
    method.apply(model, CALIBRATION)  # all of the text in every step
    assert len(seen) > 2
    assert seen[0].abs().max() > 0
    for gradient in seen:
        torch.testing.assert_close(gradient, seen[0], rtol=1e-3, atol=1e-6)


def test_gradients_of_factors_and_scored_weights_are_clipped_together(monkeypatch):
    model, score, norms = tiny_model(blocks=3), LoRAPrune.score, []
    with torch.no_grad():
        model.hf.lm_head.weight.mul_(100)  # a steep loss

    def scored(self: LoRAPrune, block: Block) -> Tensor:
        gradients = [p.grad for p in model.hf.parameters() if p.grad is not None]
        norms.append(float(nn.utils.get_total_norm(gradients)))
        with_gradient = [
            all(adapter_parameters(x).weight.grad is not None for x in block.linears().values())
            for block in model.blocks
        ]
        assert with_gradient == [True, True, False]  # the last block loses nothing
        return score(self, block)

    monkeypatch.setattr(LoRAPrune, "score", scored)
    quick(criterion="gradient", steps=3).apply(model, CALIBRATION)
    assert norms == pytest.approx([1.0] * 6, rel=1e-4)


# Whole models


def test_protects_the_first_tenth_and_the_last_block():
    def spared(blocks: int, **settings: Any) -> list[int]:
        taking_part = LoRAPrune(**settings).taking_part(tiny_model(blocks=blocks))
        return (~taking_part).nonzero().flatten().tolist()

    assert spared(30) == [0, 1, 2, 29]
    assert spared(18) == [0, 17]  # rounded down
    assert spared(5) == [4]
    assert spared(4, first=0.5, last=0) == [0, 1]


def test_refuses_invalid_values():
    model = tiny_model()
    for settings, named in (
        ({"warmup": 0.6, "cooldown": 0.5}, r"got 0\.6 and 0\.5; make them smaller"),
        ({"batch": 4, "at_once": 3}, "`batch` must be a multiple of `at_once`, got 4 and 3"),
        ({"sparsity": 0.9}, "is too high for this model"),
        ({"last": 2}, "at most 0 of its weights"),
    ):
        with pytest.raises(BadInput, match=named):
            quick(**settings).check(model, CALIBRATION)
    with pytest.raises(BadInput, match="needs training text"):
        quick().check(model, random_tokens())


@pytest.mark.model
def test_on_real_blocks_estimates_select_similar_channels_as_gradients(first_blocks):
    model, lowest = copy.deepcopy(first_blocks.dense), {}
    with seeded(0), low_rank(model):
        for _, _, linear in model.linears():
            adapter_parameters(linear).weight.requires_grad_(True)
        next_token_loss(model, first_blocks.short.training.windows.ids[:4]).backward()
        with torch.no_grad():
            for criterion in ("lora", "gradient", "magnitude"):
                scores = [LoRAPrune(criterion=criterion).score(block) for block in model.blocks]
                lowest[criterion] = [set(each[3:].argsort()[:150].tolist()) for each in scores]
    by_chance = 150**2 / 1536
    for factors, exact, size in zip(*lowest.values(), strict=True):
        assert len(factors & exact) > 2 * by_chance
        assert len(size & exact) < 1.5 * by_chance
