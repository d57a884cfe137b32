"""FLAP: scores and biases by hand, the identity of the paper, whole models, a real model."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from implementations.flap import FLAP
from implementations.flap.flap import compensation, fluctuation
from implementations.harness import (
    BadInput,
    Block,
    LanguageModel,
    Moments,
    Tokens,
    add_bias,
    walk,
)
from implementations.harness.contract.helpers import logits
from implementations.harness.contract.tiny import MODEL_TYPES, random_tokens, tiny_model
from implementations.harness.model.units import count_weights, unit_costs
from tests.masking import mask_units

pytestmark = pytest.mark.usefixtures("without_gradients")

every_family = pytest.mark.parametrize("family", list(MODEL_TYPES))
double = torch.float64


def moments(x: Tensor) -> Moments:
    """Return the moments of tokens `[tokens, features]`."""
    seen = Moments(x.shape[1])
    seen.update(x)
    return seen


def test_the_bias_keeps_the_mean_output_and_never_raises_the_error():
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(200, 12, generator=generator, dtype=double) + torch.arange(12.0) / 4
    W = torch.randn(6, 12, generator=generator, dtype=double)
    Y = X @ W.T
    for _ in range(20):
        removed = torch.rand(12, generator=generator) < 0.4
        left = X @ W.masked_fill(removed, 0).T
        corrected = left + compensation(W, X.mean(dim=0), removed)
        torch.testing.assert_close(corrected.mean(dim=0), Y.mean(dim=0))
        assert (corrected - Y).square().sum() <= (left - Y).square().sum()


def costs(block: Block) -> Tensor:
    """Return the costs of a block's units in the order of the scores."""
    return unit_costs(block, *FLAP.capabilities.granularity)


def observed(model: LanguageModel, tokens: Tokens | None = None) -> list[dict[str, Moments]]:
    """Return the calibration statistics of each block."""
    look = walk(model, tokens or random_tokens(), edits=False)
    return [block.observe(Moments, "o", "down") for block in look]


def marks(count: int, *marked: int) -> Tensor:
    """Return `[count]` with True at `marked`."""
    return torch.tensor([i in marked for i in range(count)])


# Formulas


def test_fluctuation_is_variance_times_the_squared_column_norm():
    W = torch.tensor([[1.0, 2.0], [2.0, 0.0]])  # squared column norms 5 and 4
    assert fluctuation(torch.tensor([1.0, 3.0], dtype=double), W).tolist() == [5.0, 12.0]


def test_compensation_by_hand():
    W = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    mean = torch.tensor([10.0, 0.5], dtype=double)
    assert compensation(W, mean, marks(2, 1)).tolist() == [1.0, 2.0]
    assert compensation(W, mean, marks(2, 0, 1)).tolist() == [11.0, 32.0]
    assert compensation(W, mean, marks(2)).tolist() == [0.0, 0.0]


def case(seed: int, tokens: int = 40, out: int = 5, features: int = 7) -> tuple[Tensor, Tensor]:
    """Return inputs far from mean zero `[tokens, in]` and a weight `[out, in]`, fp64."""
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(tokens, features, generator=generator, dtype=double)
    offset = torch.randn(features, generator=generator, dtype=double)
    return X + offset, torch.randn(out, features, generator=generator, dtype=double)


@given(seed=st.integers(0, 1000), j=st.integers(0, 6))
def test_removing_one_channel_costs_its_variance_times_its_norm(seed: int, j: int):
    X, W = case(seed)
    removed = marks(7, j)
    bias = compensation(W, moments(X).mean, removed)
    error = (X @ W.T - ((X * ~removed) @ W.T + bias)).square().sum(dim=1).mean()
    biased = X[:, j].var(correction=0)
    assert float(error) == pytest.approx(float(biased * W[:, j].square().sum()), rel=1e-9)
    score = fluctuation(moments(X).variance, W)[j]  # unbiased, as formula (1)
    assert float(error) == pytest.approx(float(score) * (len(X) - 1) / len(X), rel=1e-9)


# Units and their costs


def shaped(hidden: int, heads: int, kv_heads: int, channels: int) -> Block:
    """Return a block of these shapes on the meta device."""
    config = LlamaConfig(
        hidden_size=hidden,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        intermediate_size=channels,
        num_hidden_layers=1,
        vocab_size=8,
    )
    with torch.device("meta"):
        return LanguageModel(LlamaForCausalLM(config)).blocks[0]


@pytest.mark.parametrize(
    ("shape", "ratio"),
    [
        ((576, 9, 3, 1536), 170.67),  # SmolLM2-135M
        ((4096, 32, 8, 14336), 426.67),  # Llama-3-8B
        ((4096, 32, 32, 11008), 170.67),  # LLaMA-7B: the 512/3 of the official code
    ],
)
def test_cost_of_a_kv_group_in_channels(shape, ratio: float):
    kv_heads, unit = shape[2], costs(shaped(*shape))
    assert float(unit[0] / unit[-1]) == pytest.approx(ratio, abs=0.005)
    assert unit[:kv_heads].unique().numel() == unit[kv_heads:].unique().numel() == 1


def attention_only(W_o: Tensor, heads: int) -> Block:
    """Return a block whose heads have size 1 and whose `o` is given, with two idle channels."""
    model = tiny_model(
        blocks=1,
        hidden_size=len(W_o),
        num_attention_heads=heads,
        num_key_value_heads=heads,
        head_dim=1,
        intermediate_size=2,
    )
    block = model.blocks[0]
    block.attention.o.weight.data = W_o
    return block


def test_removes_constant_head_first_and_adds_its_mean():
    block = attention_only(torch.eye(2), heads=2)
    # Head 0 outputs 0 and 2, head 1 always 1: the means are equal, the fluctuations 2 and 0.
    steady = {"o": moments(torch.tensor([[0.0, 1.0], [2.0, 1.0]])), "down": moments(torch.eye(2))}
    scores = FLAP().score(block, steady)
    assert scores[:2].tolist() == pytest.approx([0.5**0.5, -(0.5**0.5)])
    plain = copy.deepcopy(block)
    FLAP(compensate=False).remove(plain, steady, marks(4, 1))
    assert plain.attention.o.bias is None
    FLAP().remove(block, steady, marks(4, 1))
    assert block.attention.kv_heads == 1
    assert block.attention.o.weight.tolist() == [[1.0], [0.0]]
    assert block.attention.o.bias.tolist() == [0.0, 1.0]
    assert block.feed_forward.down.bias is None  # nothing was removed there


def test_a_groups_score_is_the_mean_over_its_own_inputs_of_o():
    model = tiny_model("llama")  # 4 heads of 8 in 2 KV groups
    seen = observed(model)[0]
    block = model.blocks[0]
    o = block.attention.o.weight.detach().double()
    raw = seen["o"].variance * o.square().sum(dim=0)  # [32]
    by_hand = (raw - raw.mean()) / raw.std()
    for square in (False, True):
        scores = FLAP(square_attention=square).score(block, seen)
        assert len(scores) == 2 + 48
        for group in range(2):
            own = by_hand[16 * group : 16 * (group + 1)].mean()
            assert (float(scores[group]) == pytest.approx(float(own), abs=1e-9)) is not square
    squared = (raw.square() - raw.square().mean()) / raw.square().std()
    assert scores[:2].tolist() == pytest.approx(squared.view(2, 16).mean(dim=1).tolist(), abs=1e-9)


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_single_group_is_not_ranked_by_rounding(batch_size: int):
    model = tiny_model("qwen3", blocks=4)  # MQA: the mean over all inputs of o, which is 0
    tokens = random_tokens(batch_size=batch_size)
    scores = [
        FLAP().score(block, seen)
        for block, seen in zip(model.blocks, observed(model, tokens), strict=True)
    ]
    assert [float(score[0]) for score in scores] == [0.0] * 4


# Removal


@every_family
def test_slicing_equals_masking_with_the_same_biases(family: str):
    model = tiny_model(family)
    masked, seen = copy.deepcopy(model), observed(model)
    for index, block in enumerate(model.blocks):
        groups, channels = block.attention.kv_heads, block.feed_forward.channels
        # The first block loses all of its attention, the second all of its MLP.
        lost = marks(
            groups + channels, *([*range(groups), groups + 3], [*range(groups, 99)])[index]
        )
        twin = masked.blocks[index]
        heads = lost[:groups].repeat_interleave(block.attention.group * block.attention.head_size)
        for linear, mean, removed in (
            (twin.attention.o, seen[index]["o"].mean, heads),
            (twin.feed_forward.down, seen[index]["down"].mean, lost[groups:]),
        ):
            add_bias(linear, compensation(linear.weight, mean, removed))
        mask_units(twin, "kv-groups", ~lost[:groups])
        mask_units(twin, "channels", ~lost[groups:])
        FLAP().remove(block, seen[index], lost)
    assert model.blocks[0].attention.kv_heads == 0
    assert model.blocks[1].feed_forward.channels == 0
    tokens = random_tokens(seed=1)
    torch.testing.assert_close(logits(model, tokens), logits(masked, tokens), rtol=1e-4, atol=1e-4)


# Whole models


@every_family
def test_removes_the_lowest_scores_of_the_dense_model(family: str):
    model = tiny_model(family, blocks=3)
    expected, statistics = copy.deepcopy(model), observed(model)
    scores = [
        FLAP().score(block, seen) for block, seen in zip(model.blocks, statistics, strict=True)
    ]
    outcome = FLAP(sparsity=0.4).apply(model, random_tokens())
    widths = outcome.details["kv_groups"] + outcome.details["channels"]
    ranked = torch.cat(scores).sort(stable=True).values
    count = len(ranked) - sum(widths)
    edge = float(ranked[count - 1] + ranked[count]) / 2  # between the last to go and the first kept
    for block, seen, score in zip(expected.blocks, statistics, scores, strict=True):
        FLAP().remove(block, seen, score <= edge)
    for (_, _, now), (_, _, right) in zip(model.linears(), expected.linears(), strict=True):
        torch.testing.assert_close(now.weight, right.weight)
        assert (now.bias is None) == (right.bias is None)
        if now.bias is not None:  # with the means of the block's own inputs
            torch.testing.assert_close(now.bias, right.bias)
    assert len(set(outcome.details["channels"])) > 1  # widths adapt to the block


def test_equal_scores_in_a_layer_stay_finite():
    model = tiny_model()
    model.blocks[0].feed_forward.down.weight.data.zero_()  # every score of the layer is 0
    model.blocks[0].attention.o.weight.data.zero_()
    seen = observed(model)[0]
    assert FLAP().score(model.blocks[0], seen).tolist() == [0.0] * 50
    FLAP(sparsity=0.5).apply(model, random_tokens())
    assert bool(logits(model, random_tokens()).isfinite().all())


def test_an_emptied_model_and_a_single_token_are_refused():
    for settings, tokens, message in (
        ({"sparsity": 1.0}, random_tokens(), "too high"),
        ({"sparsity": 0.99}, random_tokens(), "too high"),
        ({}, Tokens.from_ids(torch.tensor([[5]])), "two or more calibration tokens"),
    ):
        model = tiny_model()
        with pytest.raises(BadInput, match=message):
            FLAP(**settings).check(model, tokens)


@pytest.mark.model
def test_on_real_blocks_compensation_helps_and_widths_adapt(first_blocks):
    errors = []
    for compensate in (True, False):
        pruned = first_blocks.pruned("flap", sparsity=0.2, compensate=compensate)
        errors.append(float((first_blocks.run(pruned) - first_blocks.outputs).square().sum()))
    assert 0 < errors[0] < errors[1]
    dense = count_weights(first_blocks.dense).all
    unit = int(costs(first_blocks.dense.blocks[0]).max())
    assert abs(count_weights(pruned).all - 0.8 * dense) <= unit / 2
    assert len({block.feed_forward.channels for block in pruned.blocks}) > 1
