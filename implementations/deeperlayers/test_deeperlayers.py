"""Deeper Layers: angles across runs, the choice of a run, whole models, a real model."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor

from implementations.deeperlayers import DeeperLayers
from implementations.deeperlayers.deeperlayers import mean_angles, run_angles
from implementations.harness import LanguageModel, Tokens, keep_channels, load_model
from implementations.harness.contract.helpers import logits
from implementations.harness.contract.tiny import MODEL_TYPES, random_tokens, tiny_model

pytestmark = pytest.mark.usefixtures("without_gradients")

every_family = pytest.mark.parametrize("family", list(MODEL_TYPES))


def silenced(model: LanguageModel, indices: list[int]) -> LanguageModel:
    """Make the sublayers of some blocks add zero to the residual stream."""
    for index in indices:
        block = model.blocks[index]
        for linear in (block.attention.o, block.feed_forward.down):
            for parameter in linear.parameters():
                parameter.zero_()
    return model


def pruned(model: LanguageModel, count: int, **settings: str) -> dict:
    """Remove `count` blocks of equal size from a copy and return the details."""
    method = DeeperLayers(sparsity=count / len(model.blocks), **settings)
    return method.apply(copy.deepcopy(model), random_tokens()).details


# Distances


@pytest.mark.parametrize("read", ["last", "all"])
@every_family
def test_distances_are_angles_between_the_models_hidden_states(family: str, read: str):
    model, tokens = tiny_model(family, blocks=4), random_tokens()
    states: list[Tensor] = []
    for layer in model.layers:
        layer.register_forward_pre_hook(lambda _, args: states.append(args[0]))
    model.layers[-1].register_forward_hook(lambda _, args, out: states.append(out))
    logits(model, tokens)
    assert len(states) == 5
    angles = []
    for x, y in zip(states, states[2:], strict=False):  # before the final norm
        angle = torch.nn.functional.cosine_similarity(x.double(), y.double(), dim=-1).arccos()
        angles.append((angle[:, -1] if read == "last" else angle.mean(dim=1)) / math.pi)  # [texts]
    expected = [float(of_texts.mean()) for of_texts in angles]
    details = pruned(model, 2, tokens=read)
    assert details["distances"] == pytest.approx(expected, abs=1e-6)
    start = expected.index(min(expected))
    assert details["removed"] == [start, start + 1]
    error = angles[start].std() / len(angles[start]) ** 0.5
    assert details["standard_error"] == pytest.approx(float(error))


def test_mean_and_standard_error_by_hand():
    angles = torch.tensor([[0.0, 0.5], [0.25, 0.25]], dtype=torch.float64)
    mean, error = mean_angles(angles)
    assert mean.tolist() == [0.25, 0.25]
    assert error.tolist() == [0.25, 0]
    assert mean_angles(angles[:, :1])[1].tolist() == [0, 0]  # a single text


def test_runs_may_have_different_lengths():
    model, tokens = tiny_model(blocks=3), random_tokens()
    both = run_angles(model, tokens, [1, 2], "last")
    assert torch.equal(both[0], run_angles(model, tokens, [1], "last")[0])
    assert torch.equal(both[1], run_angles(model, tokens, [1, 2, 1], "last")[1])


# Runs


@pytest.mark.parametrize("start", range(5))
def test_a_run_without_effect_is_found_wherever_it_is(start: int):
    model, tokens = silenced(tiny_model(blocks=6), [start, start + 1]), random_tokens()
    dense = logits(model, tokens)
    details = DeeperLayers(sparsity=2 / 6).apply(model, tokens).details
    assert details["removed"] == [start, start + 1]
    assert details["distances"][start] == 0  # exactly
    assert len(details["distances"]) == 5
    torch.testing.assert_close(logits(model, tokens), dense, rtol=1e-5, atol=1e-5)


def test_the_run_is_consecutive():
    details = pruned(silenced(tiny_model(blocks=6), [1, 4]), 2)
    first, second = details["removed"]
    assert second == first + 1


def test_of_equal_runs_the_first_is_removed():
    assert pruned(silenced(tiny_model(blocks=6), list(range(6))), 2)["removed"] == [0, 1]


@pytest.mark.parametrize("count", range(6))
def test_deepest_keeps_the_last_block(count: int):
    model = silenced(tiny_model(blocks=6), [0, 5])  # the angles would choose these
    assert pruned(model, count, rule="deepest") == {"removed": list(range(5 - count, 5))}


def test_blocks_of_different_size_are_counted_in_weights():
    model = tiny_model(blocks=4)
    for index in (0, 1):
        keep_channels(model.blocks[index].feed_forward, [])
    costs = DeeperLayers().costs(model).tolist()
    small, large = costs[0], costs[2]
    assert small < large / 2
    # The budget is a large block. The nearest runs are 0 to 1, 1 to 2, 2, and 3.
    for run in ([0, 1], [1, 2], [2], [3]):
        narrow = silenced(copy.deepcopy(model), run)
        details = DeeperLayers(sparsity=large / sum(costs)).apply(narrow, random_tokens()).details
        assert len(details["distances"]) == 4
        assert details["removed"] == run


def test_a_run_has_at_least_one_block():
    model = tiny_model(blocks=4)
    for index in (0, 1):
        keep_channels(model.blocks[index].feed_forward, [])
    costs = DeeperLayers().costs(model).tolist()
    # The budget is a small block, less than half of a large one.
    details = DeeperLayers(sparsity=costs[0] / sum(costs)).apply(model, random_tokens()).details
    assert details["distances"][2:] == [0, 0]  # no block comes nearest there
    assert details["removed"] in ([0], [1])


@pytest.mark.model
def test_on_the_real_model_the_run_spares_the_first_third_and_the_last_block(first_blocks):
    model = load_model("smollm2-135m")
    tokens = Tokens.from_ids(first_blocks.original.ids[:4, :128])
    details = DeeperLayers(sparsity=0.1).apply(model, tokens).details
    assert len(details["distances"]) == 28
    assert details["distances"][-1] == max(details["distances"][1:])
    assert details["removed"][0] >= 10
    assert details["removed"][-1] < 29
    assert len(model.layers) == 27
