"""ShortGPT: block influences, hidden states of the model, and removal of blocks."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from implementations.harness import (
    LanguageModel,
    Tokens,
    cosine_distance,
    keep_channels,
    load_model,
    masked,
    perplexity,
    walk,
)
from implementations.harness.contract.tiny import MODEL_TYPES, random_tokens, tiny_model
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


def silenced(model: LanguageModel, index: int) -> None:
    """Make the sublayers of a block add zero to the residual stream."""
    block = model.blocks[index]
    for linear in (block.attention.o, block.feed_forward.down):
        for parameter in linear.parameters():
            parameter.data.zero_()


def written_by(model: LanguageModel, samples: int = 32, length: int = 12) -> Tokens:
    """Return text drawn from the model, so that damage raises its perplexity."""
    torch.manual_seed(0)
    ids = torch.arange(samples)[:, None]
    while ids.shape[1] < length:
        following = logits(model, Tokens.from_ids(ids))[:, -1].softmax(dim=1)
        ids = torch.cat([ids, torch.multinomial(following, 1)], dim=1)
    return Tokens.from_ids(ids, batch_size=samples)


# The influence


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
        output = model.hf(input_ids=tokens.ids, use_cache=False, output_hidden_states=True)
    handle.remove()
    *states, normed = output.hidden_states  # the last one has gone through the final norm
    states = [state.flatten(0, 1) for state in [*states, last[0]]]  # [tokens, hidden] each
    ours = influences(model, tokens)
    own = [influence(pair) for pair in itertools.pairwise(states)]
    assert ours == pytest.approx(own, abs=1e-6)
    assert ours[-1] != pytest.approx(influence((states[-2], normed.flatten(0, 1))), abs=1e-3)


# Removal


@every_family
def test_ranks_blocks_once_on_the_dense_model(family: str):
    model, tokens = tiny_model(family, blocks=6), random_tokens()
    dense = influences(model, tokens)
    details = ShortGPT(sparsity=0.5).apply(model, tokens).details
    assert details["influence"] == dense
    assert details["removed"] == sorted(sorted(range(6), key=dense.__getitem__)[:3])


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


def test_blocks_that_change_nothing_have_no_influence_and_go_front_to_back():
    model = tiny_model(blocks=4)
    for index in (1, 3):
        silenced(model, index)
    details = ShortGPT(sparsity=0.25).apply(model, random_tokens()).details
    assert details["influence"][1] == details["influence"][3] == 0  # without rounding noise
    assert details["removed"] == [1]


def test_removal_harms_less_than_at_random_or_from_the_front():
    model = tiny_model(blocks=6)
    tokens = written_by(model)
    harms = {}
    for pair in itertools.combinations(range(6), 2):
        with masked(model, torch.isin(torch.arange(6), torch.tensor(pair)), "blocks"):
            harms[pair] = perplexity(model, tokens).value
    removed = ShortGPT(sparsity=1 / 3).apply(model, tokens).details["removed"]
    assert harms[tuple(removed)] < sum(harms.values()) / len(harms) < harms[0, 1]


@pytest.mark.model
def test_on_the_real_model_first_and_last_blocks_have_most_influence(first_blocks):
    model = load_model("smollm2-135m")
    tokens = Tokens.from_ids(first_blocks.original.ids[:4, :128])
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
