"""Low-rank factors: merging preserves the output, zeros stay, nothing else changes."""

from __future__ import annotations

import copy
import importlib.util
from typing import Any

import pytest
import torch
from torch import nn

from implementations.harness import (
    BadInput,
    LanguageModel,
    Unavailable,
    get_method,
    keep_channels,
    keep_kv_groups,
    keep_units,
)
from implementations.harness.contract import side_effects
from implementations.harness.contract.helpers import (
    calibration_for,
    configured,
    fingerprint,
    logits,
    same,
)
from implementations.harness.contract.tiny import MODEL_TYPES, random_tokens, tiny_model
from implementations.harness.train.low_rank import adapter_parameters, low_rank

every_family = pytest.mark.parametrize("family", list(MODEL_TYPES))


def randomise(factors: list[nn.Parameter], seed: int = 0) -> None:
    """Change all factors at random, as if they had been trained."""
    generator = torch.Generator().manual_seed(seed)
    for factor in factors:
        factor.data.add_(0.05 * torch.randn(factor.shape, generator=generator))


def state(model: LanguageModel) -> dict[str, Any]:
    """Return the state that must be restored, without the generators, which factors use."""
    return {
        name: value for name, value in side_effects.state(model).items() if name != "generators"
    }


def indexed(model: LanguageModel) -> None:
    for block in model.blocks:
        keep_units(block, "query-heads", [0, 3])


def emptied(model: LanguageModel) -> None:
    keep_kv_groups(model.blocks[0].attention, [])
    keep_channels(model.blocks[1].feed_forward, range(8))


WAYS: dict[str, Any] = {"dense": lambda _: None, "indexed": indexed, "emptied": emptied}


def reduced(family: str, way: str) -> LanguageModel:
    """Return a model after one of the removals in `WAYS`."""
    model = tiny_model(family)
    if way == "indexed" and model.blocks[0].attention.group < 2:
        pytest.skip("its query heads are KV groups")
    WAYS[way](model)
    return model


@every_family
@pytest.mark.parametrize("way", list(WAYS))
@pytest.mark.parametrize("masked", [False, True])
def test_merging_preserves_the_trained_output(family: str, way: str, masked: bool):
    model = reduced(family, way)
    before, kinds = logits(model), [type(m) for m in model.hf.modules()]
    dense, left = fingerprint(model), state(model)
    with low_rank(model, rank=4, masked=masked) as factors:
        torch.testing.assert_close(logits(model), before)
        randomise(factors)
        trained = logits(model)
    assert not torch.allclose(trained, before, atol=1e-2)
    torch.testing.assert_close(logits(model), trained, rtol=1e-4, atol=1e-4)
    after = fingerprint(model)
    assert after.keys() == dense.keys()
    linears = {n for n in after if "proj.weight" in n or "fc1.weight" in n or "fc2.weight" in n}
    for name in after:
        assert after[name].shape == dense[name].shape
        assert torch.equal(after[name], dense[name]) != (
            name in linears and after[name].numel() > 0
        )
    assert [type(m) for m in model.hf.modules()] == kinds
    assert state(model) == left


@every_family
@pytest.mark.parametrize("pattern", ["2:4", "1:4"])
def test_masked_zeros_stay_zero(family: str, pattern: str):
    model = tiny_model(family)
    get_method("magnitude").configure(pattern=pattern).apply(model)
    zeros = [linear.weight == 0 for _, _, linear in model.linears()]
    with low_rank(model, rank=4, masked=True) as factors:
        randomise(factors)
        trained = logits(model)
    torch.testing.assert_close(logits(model), trained)
    for mask, (_, _, linear) in zip(zeros, model.linears(), strict=True):
        assert torch.equal(linear.weight == 0, mask)


def test_merging_without_mask_fills_zeros():
    model = tiny_model()
    get_method("magnitude").configure(sparsity=0.5).apply(model)
    with low_rank(model, rank=4) as factors:
        randomise(factors)
    assert all(bool((linear.weight != 0).all()) for _, _, linear in model.linears())


@pytest.mark.parametrize("masked", [False, True])
def test_merging_adds_the_scaled_product(masked: bool):
    model = tiny_model()
    before = copy.deepcopy(model.blocks[0].feed_forward.up.weight.detach())
    with low_rank(model, rank=4, scale=3.0, masked=masked) as factors:
        assert len(factors) == 2 * 7 * 2
        randomise(factors)
        named = dict(model.hf.named_parameters())
        place = "layers.0.mlp.up_proj"
        A, B = (
            next(p.detach().clone() for n, p in named.items() if place in n and part in n)
            for part in ((".A", ".B") if masked else ("lora_A", "lora_B"))
        )
    assert (A.shape, B.shape) == ((4, 32), (48, 4))
    torch.testing.assert_close(model.blocks[0].feed_forward.up.weight.detach(), before + 3 * B @ A)


@every_family
@pytest.mark.parametrize("way", list(WAYS))
@pytest.mark.parametrize("masked", [False, True])
def test_adapter_returns_the_factors_of_a_layer(family: str, way: str, masked: bool):
    model = reduced(family, way)
    frozen = {id(linear.weight) for _, _, linear in model.linears()}
    expected, found = {}, []
    with low_rank(model, rank=4, scale=3.0, masked=masked) as factors:
        randomise(factors)
        for block in model.blocks:
            for role, linear in block.linears().items():
                if linear.weight.numel():
                    weight, A, B, scale = adapter_parameters(linear)
                    assert id(weight) in frozen
                    found += [id(A), id(B)]
                    expected[block.index, role] = (weight + scale * B @ A).detach()
        assert sorted(found) == sorted(id(factor) for factor in factors)
    for (index, role), weight in expected.items():
        merged = model.blocks[index].linears()[role].weight
        torch.testing.assert_close(merged.detach(), weight)


def test_adapter_refuses_layer_without_factors():
    model = tiny_model()
    emptied(model)
    with pytest.raises(BadInput, match="has no low-rank factors"):
        adapter_parameters(model.blocks[0].feed_forward.up)
    with low_rank(model), pytest.raises(BadInput, match="has no low-rank factors"):
        adapter_parameters(model.blocks[0].attention.q)


@pytest.mark.parametrize("masked", [False, True])
def test_only_factors_get_gradients(masked: bool):
    model = tiny_model()
    with low_rank(model, masked=masked) as factors:
        model.hf(input_ids=random_tokens().ids, use_cache=False).logits.square().mean().backward()
        with_gradient = [p for p in model.hf.parameters() if p.grad is not None]
        assert {id(p) for p in with_gradient} == {id(p) for p in factors}


@pytest.mark.parametrize("masked", [False, True])
def test_exception_restores_weights(masked: bool):
    model = tiny_model()
    before, left = fingerprint(model), state(model)
    changes = low_rank(model, masked=masked)
    randomise(changes.__enter__())
    error = KeyboardInterrupt()
    assert not changes.__exit__(type(error), error, None)
    assert same(fingerprint(model), before)
    assert state(model) == left


def test_factors_of_bf16_weights_are_fp32():
    for masked in (False, True):
        model = tiny_model(dtype=torch.bfloat16)
        with low_rank(model, masked=masked) as factors:
            assert {factor.dtype for factor in factors} == {torch.float32}
            randomise(factors)
        assert {p.dtype for p in model.hf.parameters()} == {torch.bfloat16}


def test_works_with_rotated_model():
    model = tiny_model()
    get_method("slicegpt").configure(sparsity=0.1).apply(model, random_tokens(16, 32))
    with low_rank(model, rank=4) as factors:
        randomise(factors)
        trained = logits(model)
    torch.testing.assert_close(logits(model), trained, rtol=1e-4, atol=1e-4)


def test_refuses_invalid_rank_model_and_missing_peft(monkeypatch):
    with (
        pytest.raises(BadInput, match="`rank` must be at least 1, got 0"),
        low_rank(tiny_model(), rank=0),
    ):
        pass
    model = tiny_model()
    model.accelerator = torch.device("meta")
    with pytest.raises(BadInput, match="block by block"), low_rank(model):
        pass
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    model = tiny_model()
    before = state(model)
    with pytest.raises(Unavailable, match=r"pruning-atlas\[train\]"), low_rank(model):
        pass
    assert state(model) == before


@pytest.mark.parametrize("slug", ["atp", "loraprune", "maskprune"])
def test_methods_report_missing_peft_before_any_work(slug: str, monkeypatch):
    method, model = get_method(slug), tiny_model()
    before = fingerprint(model)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(Unavailable, match=rf"{slug} needs peft; install it: pip install"):
        configured(method, sparsity=0.2).apply(model, calibration_for(method))
    assert same(before, fingerprint(model))
