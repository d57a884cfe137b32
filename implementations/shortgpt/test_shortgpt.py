"""ShortGPT: block influences, hidden states of the model, and removal of blocks."""

from __future__ import annotations

import copy
import itertools
import random
import statistics

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from implementations.harness import (
    BadInput,
    LanguageModel,
    Tokens,
    cosine_distance,
    keep_channels,
    load_model,
    remove_blocks,
    walk,
)
from implementations.harness.contract.pruned_model import continued
from implementations.harness.contract.tiny import MODEL_TYPES, random_tokens, tiny_model
from implementations.harness.data.samples import prepare
from implementations.harness.measure.perplexity import perplexity
from implementations.harness.model.units import count_weights
from implementations.shortgpt import ShortGPT

every_family = pytest.mark.parametrize("family", list(MODEL_TYPES))


def influence(*batches: tuple[Tensor, Tensor]) -> float:
    """Return the influence over batches of inputs and outputs, `[tokens, hidden]` each."""
    return float(torch.cat([cosine_distance(x, y) for x, y in batches]).mean())


def influences(model: LanguageModel, tokens: Tokens) -> list[float]:
    look = walk(model, tokens, edits=False)
    return [
        float(torch.cat([cosine_distance(x, y).flatten() for x, y in b.run()]).mean()) for b in look
    ]


def logits(model: LanguageModel, tokens: Tokens) -> Tensor:
    with torch.no_grad():
        return model.hf(input_ids=tokens.ids, use_cache=False).logits


def answering(layer: nn.Module, factor: float) -> None:
    """Make a block return its input times `factor`: 1 bypasses it, -1 negates the stream."""

    class Stub(type(layer)):
        def forward(self, hidden_states, *args, **kwargs):
            return factor * hidden_states

    layer.__class__ = Stub


def silenced(model: LanguageModel, index: int) -> None:
    """Make the sublayers of a block add zero to the residual stream."""
    block = model.blocks[index]
    for linear in (block.attention.o, block.feed_forward.down):
        for parameter in linear.parameters():
            parameter.data.zero_()


def counted(model: LanguageModel) -> list[int]:
    """Return a list to which the index of every executed block is appended."""
    calls: list[int] = []
    for index, layer in enumerate(model.layers):
        layer.self_attn.register_forward_pre_hook(lambda *_, index=index: calls.append(index))
    return calls


# The influence


def test_influence_by_hand():
    # Turned by 90, 0 and 180 degrees: 1 - cos is 1, 0 and 2.
    x = torch.tensor([[1.0, 0.0], [3.0, 4.0], [0.0, 2.0]])
    y = torch.tensor([[0.0, 5.0], [6.0, 8.0], [0.0, -1.0]])
    assert influence((x, y)) == pytest.approx(1.0)


def test_influence_is_a_mean_of_ratios_not_a_ratio_of_means():
    x = torch.tensor([[1.0, 0.0], [1000.0, 0.0]])
    y = torch.tensor([[0.0, 1.0], [1000.0, 0.0]])  # the long token keeps its direction
    assert influence((x, y)) == pytest.approx(0.5)


def test_unchanged_stream_has_influence_exactly_0():
    for hidden in (3, 32, 576):
        x = torch.randn(50, hidden, generator=torch.Generator().manual_seed(hidden))
        assert influence((x, x)) == 0
        assert influence((x, -x)) == pytest.approx(2, abs=1e-12)
        assert influence((x, 3 * x)) == pytest.approx(0, abs=1e-12)


@given(seed=st.integers(0, 10_000), scale=st.floats(1e-6, 1e6), turn=st.floats(0, 10))
def test_influence_is_1_minus_the_mean_cosine_at_any_scale(seed: int, scale: float, turn: float):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(20, 8, generator=generator, dtype=torch.float64)
    y = x + turn * torch.randn(20, 8, generator=generator, dtype=torch.float64)
    ours = influence((x, y))
    brute = sum(
        1 - float(a @ b) / (float(a @ a) * float(b @ b)) ** 0.5 for a, b in zip(x, y, strict=True)
    )
    assert 0 <= ours <= 2
    assert ours == pytest.approx(brute / 20, abs=1e-12)
    assert influence((scale * x, y)) == pytest.approx(ours, abs=1e-9)
    assert influence((x[:7], y[:7]), (x[7:], y[7:])) == pytest.approx(ours, abs=1e-12)


# Hidden states of the model


@every_family
def test_influences_are_those_of_the_models_hidden_states(family: str):
    model, tokens = tiny_model(family, blocks=4), random_tokens()
    last: list[Tensor] = []
    handle = model.layers[-1].register_forward_hook(lambda _, args, out: last.append(out))
    with torch.no_grad():
        told = model.hf(input_ids=tokens.ids, use_cache=False, output_hidden_states=True)
    handle.remove()
    *states, normed = told.hidden_states  # the last one has gone through the final norm
    states = [state.flatten(0, 1) for state in [*states, last[0]]]  # [tokens, hidden] each
    ours = influences(model, tokens)
    own = [influence(pair) for pair in itertools.pairwise(states)]
    assert ours == pytest.approx(own, abs=1e-6)
    assert ours[-1] != pytest.approx(influence((states[-2], normed.flatten(0, 1))), abs=1e-3)


@every_family
def test_block_without_effect_has_influence_0_and_is_removed_first(family: str):
    model, tokens = tiny_model(family, blocks=4), random_tokens()
    silenced(model, 2)
    seen = influences(model, tokens)
    assert seen[2] == 0
    assert min(seen[:2] + seen[3:]) > 1e-3
    dense = logits(model, tokens)
    assert ShortGPT(sparsity=0.25).apply(model, tokens).details["removed"] == [2]
    assert torch.equal(logits(model, tokens), dense)


def test_block_that_negates_the_stream_has_influence_2():
    model, tokens = tiny_model(blocks=4), random_tokens()
    answering(model.layers[1], -1.0)
    assert influences(model, tokens)[1] == pytest.approx(2, abs=1e-12)
    kept = model.layers[1]
    ShortGPT(sparsity=0.75).apply(model, tokens)
    assert list(model.layers) == [kept]


def test_removes_silent_blocks_in_order_for_any_batch_size():
    for batch_size in (1, 2, 5):
        model = tiny_model(blocks=6)
        for index in (1, 3, 4):
            silenced(model, index)
        outcome = ShortGPT(sparsity=1 / 3).apply(model, random_tokens(batch_size=batch_size))
        assert outcome.details["removed"] == [1, 3]


# Removal


@every_family
@pytest.mark.parametrize("sparsity", [0.2, 0.5])
def test_the_pruned_model_is_the_dense_one_with_blocks_bypassed(family: str, sparsity: float):
    model, tokens = tiny_model(family, blocks=5), random_tokens()
    bypassed = copy.deepcopy(model)
    details = ShortGPT(sparsity=sparsity).apply(model, tokens).details
    assert len(details["removed"]) == {0.2: 1, 0.5: 2}[sparsity]
    for index in details["removed"]:
        answering(bypassed.layers[index], 1.0)
    assert torch.equal(logits(model, tokens), logits(bypassed, tokens))


@every_family
def test_ranks_blocks_once_on_the_dense_model(family: str):
    model, tokens = tiny_model(family, blocks=6), random_tokens()
    dense = influences(model, tokens)
    details = ShortGPT(sparsity=0.5).apply(model, tokens).details
    assert details["influence"] == dense
    assert details["removed"] == sorted(sorted(range(6), key=dense.__getitem__)[:3])


@every_family
def test_updates_cache_indices_and_configuration(family: str):
    model, tokens = tiny_model(family, blocks=6), random_tokens()
    silenced(model, 0)
    silenced(model, 3)
    kinds = getattr(model.config, "layer_types", None)
    ShortGPT(sparsity=1 / 3).apply(model, tokens)
    assert [block.attention.module.layer_idx for block in model.blocks] == [0, 1, 2, 3]
    assert model.config.num_hidden_layers == len(model.layers) == 4
    if kinds is not None:
        assert model.config.layer_types == [kinds[i] for i in (1, 2, 4, 5)]
    prompt = random_tokens(1, 6, seed=2).ids
    with_cache, without_cache = (continued(model, prompt, cache) for cache in (True, False))
    assert with_cache.shape == (1, 22)
    assert torch.equal(with_cache, without_cache)


@pytest.mark.parametrize(
    ("sparsity", "blocks", "count"),
    [(0.1, 30, 3), (0.2, 30, 6), (0.3, 30, 9), (0.27, 32, 9), (0.25, 40, 10), (0.24, 4, 1)],
)
def test_the_budget_is_the_nearest_number_of_blocks(sparsity: float, blocks: int, count: int):
    model = tiny_model(blocks=blocks, hidden_size=8, intermediate_size=8, head_dim=4)
    outcome = ShortGPT(sparsity=sparsity).apply(model, random_tokens(1, 4))
    assert len(outcome.details["removed"]) == count
    assert outcome.achieved == pytest.approx(count / blocks)


def test_blocks_of_different_size_are_counted_in_weights():
    model, tokens = tiny_model(blocks=3), random_tokens()
    for index in (0, 1):
        keep_channels(model.blocks[index].feed_forward, [0])
    silenced(model, 0)
    small, large = (int(ShortGPT().costs(model)[index]) for index in (0, 2))
    assert large == sum(linear.weight.numel() for linear in model.blocks[2].linears().values())
    share = small / (2 * small + large)  # exactly the first block, which is less than a third
    assert share < 0.3
    before = count_weights(model).all
    outcome = ShortGPT(sparsity=share).apply(model, tokens)
    assert outcome.details["removed"] == [0]
    assert before - count_weights(model).all == small


def test_nothing_is_removed_at_0():
    model, tokens = tiny_model(), random_tokens()
    before = copy.deepcopy(model.hf.state_dict())
    outcome = ShortGPT(sparsity=0).apply(model, tokens)
    after = model.hf.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert outcome.details["removed"] == []
    assert len(outcome.details["influence"]) == 2


@pytest.mark.parametrize("sparsity", [0.9, 1.0])
def test_removing_every_block_is_refused_before_any_runs(sparsity: float):
    model = tiny_model(blocks=4)
    calls = counted(model)
    with pytest.raises(BadInput, match=f"sparsity {sparsity:g} would empty the model"):
        ShortGPT(sparsity=sparsity).apply(model, random_tokens())
    assert len(model.layers) == model.config.num_hidden_layers == 4
    assert calls == []


def test_the_calibration_passes_each_block_once():
    model = tiny_model(blocks=4)
    calls = counted(model)
    ShortGPT().apply(model, random_tokens(samples=6, batch_size=2))
    assert calls == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3


@pytest.mark.model
def test_on_the_real_model_first_and_last_blocks_have_most_influence(first_blocks):
    model = load_model("smollm2-135m")
    tokens = Tokens.from_ids(first_blocks.calibration.ids[:4, :128])
    dense = count_weights(model)
    outcome = ShortGPT(sparsity=0.1).apply(model, tokens)
    influence, removed = outcome.details["influence"], outcome.details["removed"]
    lowest = sorted(range(30), key=influence.__getitem__)
    assert removed == sorted(lowest[:3])
    assert not {0, 29} & set(lowest[:10])
    assert all(0 < value < 1 for value in influence)
    assert len(model.layers) == 27
    assert count_weights(model).all * 30 == dense.all * 27
    assert bool(logits(model, tokens).isfinite().all())


@pytest.mark.slow
@pytest.mark.model
def test_removing_its_three_blocks_costs_less_than_random_ones():
    model = load_model("smollm2-135m")
    samples = prepare("quick", model)
    (text,) = samples.evaluations.values()

    def without(blocks: list[int]) -> float:
        small = LanguageModel(copy.deepcopy(model.hf))
        remove_blocks(small, blocks)
        return perplexity(small, text).value

    chosen = copy.deepcopy(model.hf)
    outcome = ShortGPT(sparsity=0.1).apply(LanguageModel(chosen), samples.calibration)
    draw = random.Random(0)
    others = [without(draw.sample(range(1, 29), 3)) for _ in range(5)]  # first and last stay
    assert without(outcome.details["removed"]) < statistics.geometric_mean(others)
