"""The view of a model: its parts, opening one block at a time, and restoring state."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from implementations.harness import LanguageModel, keep_channels
from implementations.harness.contract.tiny import MODEL_TYPES, ShutModel, tiny_model
from implementations.harness.model.view import preserved

every_family = pytest.mark.parametrize("family", list(MODEL_TYPES))


@every_family
def test_blocks_and_outside_contain_all_parameters(family):
    model = tiny_model(family)
    outside = model.outside()
    inside = {id(p) for block in model.blocks for p in block.module.parameters()}
    assert not inside & {id(tensor) for tensor in outside.values()}
    everything = {id(p) for p in model.hf.parameters()}
    assert inside | {id(tensor) for tensor in outside.values()} >= everything
    head = next(name for name in outside if name.endswith("lm_head.weight"))
    assert (outside[head] is model.embedding) is bool(model.config.tie_word_embeddings)


@every_family
def test_block_view_contains_all_layers(family):
    for block in tiny_model(family).blocks:
        linears = [m for m in block.module.modules() if isinstance(m, nn.Linear)]
        assert sorted(map(id, linears)) == sorted(map(id, block.linears().values()))
        others = {
            name
            for name, module in block.module.named_modules()
            if not isinstance(module, nn.Linear) and list(module.parameters(recurse=False))
        }
        assert others == set(block.norms)


def test_visit_opens_one_block_at_a_time():
    model = ShutModel(tiny_model(blocks=3))
    shut = lambda: [next(b.module.parameters()).is_meta for b in model.blocks]  # noqa: E731
    assert shut() == [True] * 3
    seen = []
    for _ in model.visit():
        seen.append(shut().index(False))
        assert sum(shut()) == 2
        if len(seen) == 2:
            break
    assert seen == [0, 1]
    assert shut() == [True] * 3
    for _, _, linear in model.linears():
        linear.weight.data.add_(1)
    means = [float(linear.weight.detach().mean()) for _, _, linear in model.linears()]
    assert means == pytest.approx([1] * 21, abs=0.1)


# Restoring state


@pytest.fixture
def model() -> LanguageModel:
    return tiny_model(blocks=3)


@pytest.mark.parametrize("training", [True, False])
def test_new_modules_get_the_mode_of_their_parent(training, model):
    model.hf.train(training)
    model.blocks[1].module.train(not training)  # mixed modes are restored too
    with preserved(model):
        model.hf.train(not training)
        for block in model.blocks:
            block.module.mlp.up_proj = nn.Sequential(nn.Linear(32, 8), nn.Sequential(nn.ReLU()))
            block.module.mlp.train()
    for block in model.blocks:
        modes = {module.training for module in block.module.modules()}
        assert modes == {training if block.index != 1 else not training}
    assert model.hf.training is training


def test_restores_gradients(model):
    kept, dropped, made, other = (
        block.attention.o.weight if role else block.attention.q.weight
        for block in model.blocks[:2]
        for role in (0, 1)
    )
    cut = model.blocks[2].feed_forward.up.weight
    for parameter in (kept, dropped, cut):
        parameter.grad = torch.ones_like(parameter)
    before = kept.grad
    with preserved(model):
        dropped.grad = None
        kept.grad = torch.zeros_like(kept)
        made.grad = torch.ones_like(made)
        model.blocks[1].attention.o.weight = nn.Parameter(other.detach().clone())
        model.blocks[1].attention.o.weight.grad = torch.ones_like(other)
        keep_channels(model.blocks[2].feed_forward, [0, 1])
    assert kept.grad is before
    assert bool((dropped.grad == 1).all())
    assert {id(p) for p in model.hf.parameters() if p.grad is not None} == {id(kept), id(dropped)}


def test_drops_gradient_after_change_of_dtype(model):
    linear = model.blocks[0].attention.q
    linear.weight.grad = torch.ones_like(linear.weight)
    with preserved(model):
        linear.weight = nn.Parameter(linear.weight.detach().bfloat16())
    assert linear.weight.grad is None
