"""Weights are perturbed along a random direction only while a block runs."""

from __future__ import annotations

import copy

import pytest
import torch

from implementations.harness.contract.helpers import fingerprint, logits, same
from implementations.harness.contract.tiny import MODEL_TYPES, tiny_model
from implementations.minillm.perturbation import DISTINCT, direction, draw_seeds, perturbed

every_family = pytest.mark.parametrize("family", list(MODEL_TYPES))


def moved(model, seed, scale):
    """Return a copy with perturbed weights."""
    model = copy.deepcopy(model)
    with torch.no_grad():
        for block, role, linear in model.linears():
            linear.weight.add_(direction(block, role, seed), alpha=scale)
    return model


@every_family
def test_computes_with_perturbed_weights(family):
    model = tiny_model(family)
    expected = logits(moved(model, 3, 0.1))
    assert not torch.allclose(expected, logits(model), atol=1e-2)
    with perturbed(model, 3, 0.1):
        torch.testing.assert_close(logits(model), expected)


@every_family
def test_restores_weights_exactly(family):
    model = tiny_model(family)
    before, parameters = fingerprint(model), list(model.hf.parameters())
    with perturbed(model, 3, 0.1):
        logits(model)
        assert same(before, fingerprint(model))  # and are in place whenever no block runs
    assert same(before, fingerprint(model))
    assert all(a is b for a, b in zip(parameters, model.hf.parameters(), strict=True))
    assert not any("forward" in vars(module) for module in model.hf.modules())


def test_restores_weights_after_an_exception():
    model = tiny_model("llama")
    before = fingerprint(model)

    def interrupt(*_):
        raise KeyboardInterrupt

    handle = model.blocks[1].feed_forward.down.register_forward_hook(interrupt)
    with pytest.raises(KeyboardInterrupt), perturbed(model, 3, 0.1):
        logits(model)
    handle.remove()
    assert same(before, fingerprint(model))


def test_directions_are_standard_normal_and_distinct():
    model = tiny_model("llama", hidden_size=128, intermediate_size=256)
    drawn = {
        (block.index, role, seed): direction(block, role, seed)
        for seed in (0, 1, 2**31 - 1)
        for block in model.blocks
        for role in block.linears()
    }
    again = direction(model.blocks[1], "up", 1)
    assert torch.equal(again, drawn[1, "up", 1])
    starts = {tuple(values.flatten()[:4].tolist()) for values in drawn.values()}
    assert len(starts) == len(drawn)
    values = torch.cat([values.flatten() for values in drawn.values()])
    assert float(values.mean()) == pytest.approx(0, abs=0.01)
    assert float(values.std()) == pytest.approx(1, abs=0.01)


def test_every_seed_has_its_own_direction():
    block = tiny_model("llama").blocks[0]
    torch.manual_seed(0)
    drawn = torch.randint(2**31, (32,)).tolist()
    torch.manual_seed(0)
    assert draw_seeds(32) == drawn  # one after the other, as long as they are distinct
    starts = {tuple(direction(block, "k", seed)[0, :4].tolist()) for seed in draw_seeds(400)}
    assert len(starts) == 400
    assert len(draw_seeds(DISTINCT)) == DISTINCT


def test_half_precision_rounds_perturbations():
    model = tiny_model("llama", dtype=torch.bfloat16)
    q = model.blocks[0].attention.q
    seen = []
    q.register_forward_hook(lambda module, *_: seen.append(module.weight.data.clone()))
    with perturbed(model, 3, 0.1):
        logits(model)
    expected = q.weight.float() + 0.1 * direction(model.blocks[0], "q", 3)
    assert torch.equal(seen[0], expected.to(torch.bfloat16))
