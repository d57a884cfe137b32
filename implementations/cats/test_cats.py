"""CATS: thresholds of the gates, the skipped channels, the share of weights, a real model."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import linear as multiply

from implementations.cats import CATS
from implementations.cats.cats import activation, skippable
from implementations.harness import Block, Drop, LanguageModel, Tokens, keep_channels
from implementations.harness.contract.helpers import logits
from implementations.harness.contract.tiny import random_tokens, tiny_model

pytestmark = pytest.mark.usefixtures("without_gradients")

CALIBRATION, OTHER = random_tokens(), random_tokens(3, 20, seed=1)
SHARE = 0.2
P = SHARE / (3072 / 7680)  # `up` and `down` have 3,072 of the 7,680 weights of a tiny block


def gates(model: LanguageModel, tokens: Tokens) -> list[Tensor]:
    """Return the outputs of the activation functions, `[samples, tokens, channels]`."""
    seen: list[Tensor] = []
    handles = [
        activation(block).register_forward_hook(lambda _, __, g: seen.append(g))
        for block in model.blocks
    ]
    logits(model, tokens)
    for handle in handles:
        handle.remove()
    return seen


def calibrated(model: LanguageModel, **settings: Any) -> tuple[CATS, dict[str, Any]]:
    method = CATS(sparsity=SHARE, **settings)
    return method, method.apply(model, CALIBRATION).details


def test_gates_by_hand():
    kept = CATS().kept(tiny_model().blocks[0], "up", Drop(0.1, 0.5))
    g = torch.tensor([0.5, -0.2, 0.1, -0.05])
    assert kept(g).tolist() == [True, True, False, False]


@pytest.mark.parametrize("above", [False, True])
def test_the_threshold_is_not_rounded_to_the_precision_of_the_model(above: bool):
    g = torch.tensor([0.1], dtype=torch.float16)
    limit = float(g) + (-1e-6 if above else 1e-6)  # in fp16, both limits are equal to g
    assert CATS().kept(tiny_model().blocks[0], "up", Drop(limit, 0.5))(g).tolist() == [above]


def test_thresholds_are_quantiles_of_the_dense_gates():
    """The gates of later blocks are those of the dense model, also above 1."""
    model = tiny_model()
    model.blocks[1].feed_forward.inner[0].weight.mul_(10)
    limits = calibrated(model)[1]["limits"]
    for by_role, g in zip(limits, gates(model, CALIBRATION), strict=True):
        assert by_role.keys() == {"up", "down"}
        expected = float(g.abs().quantile(P))
        assert by_role["up"] == by_role["down"] == pytest.approx(expected, rel=0.02)
    assert calibrated(model)[1]["shares"][1]["up"] == pytest.approx(P, abs=0.01)


def skipping(block: Block, x: Tensor, threshold: float) -> Tensor:
    """Return the MLP's output for one token `x [hidden]`, from its kept channels only."""
    up, down = block.feed_forward.up, block.feed_forward.down
    gate = block.feed_forward.gate
    assert gate is not None
    g = activation(block)(multiply(x, gate.weight))
    kept = (g.abs() > threshold).nonzero().flatten()
    return down.weight[:, kept] @ (g[kept] * (up.weight[kept] @ x))


@pytest.mark.parametrize("samples", [1, 3])
def test_zeroed_gates_skip_rows_of_up_and_columns_of_down(samples: int):
    model = tiny_model()
    method, details = calibrated(model, dense_prompt=False)
    block, seen = model.blocks[0], {}
    mlp = block.module.get_submodule("mlp")
    handle = mlp.register_forward_hook(lambda _, args, y: seen.update(x=args[0], y=y))
    with method.active(model):
        logits(model, Tokens.from_ids(OTHER.ids[:samples, : 20 if samples > 1 else 1]))
        shares = model.calibrated.counts[0]
    handle.remove()
    for x, y in zip(seen["x"].flatten(end_dim=1), seen["y"].flatten(end_dim=1), strict=True):
        expected = skipping(block, x, details["limits"][0]["up"])
        torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)
    assert shares["up"] == shares["down"]
    assert 0 < shares["up"][0] < shares["up"][1] == seen["x"].shape[:2].numel() * 48


def test_sparsity_counts_all_weights_of_a_block():
    model = tiny_model()
    assert skippable(model) == CATS().max_sparsity(model) == pytest.approx(SHARE / P)
    outcome = CATS(sparsity=SHARE).apply(model, CALIBRATION)
    total = sum(linear.weight.numel() for _, _, linear in model.linears())
    assert outcome.unused == pytest.approx(SHARE * total, rel=0.01)
    everything = CATS(sparsity=0.4).apply(model, CALIBRATION)
    assert everything.achieved == pytest.approx(0.4)
    assert everything.details["shares"][0]["up"] == 1


def test_all_blocks_skip_the_same_share_of_their_channels():
    model = tiny_model()
    keep_channels(model.blocks[0].feed_forward, range(12))
    shares = [of_block["up"] for of_block in calibrated(model)[1]["shares"]]
    assert shares == pytest.approx([SHARE / skippable(model)] * 2, abs=0.01)


def test_the_size_of_up_changes_no_threshold():
    model = tiny_model()
    before = calibrated(model)[1]["limits"][0]
    model.blocks[0].feed_forward.up.weight.mul_(3)
    assert calibrated(model)[1]["limits"][0] == before


def test_the_attention_is_dense():
    model, outputs = tiny_model(blocks=1), []
    method, _ = calibrated(model, dense_prompt=False)
    model.blocks[0].attention.o.register_forward_hook(lambda _, __, y: outputs.append(y))
    logits(model, OTHER)
    with method.active(model):
        logits(model, OTHER)
    assert torch.equal(*outputs)


@pytest.mark.model
def test_on_real_blocks_small_gates_matter_least(first_blocks: Any):
    """Dropping the channels of small gates changes the logits less than dropping random ones."""

    class Random(CATS):
        def kept(self, block: Block, role: str, drop: Drop) -> Any:
            generator = torch.Generator().manual_seed(block.index)
            return lambda g: torch.rand(g.shape, generator=generator) > drop.share

    model, tokens = first_blocks.dense, first_blocks.short
    dense, errors = logits(model, tokens), []
    for kind in (CATS, Random):
        method = kind(sparsity=0.25, dense_prompt=False)
        method.apply(model, tokens)
        with method.active(model):
            errors.append(float((logits(model, tokens) - dense).square().mean()))
    assert 0 < errors[0] < 0.5 * errors[1]
