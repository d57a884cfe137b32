"""Masked models equal pruned ones, and masks are removed afterwards."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from implementations.harness import (
    BadInput,
    LanguageModel,
    keep_units,
    masked,
    perplexity,
    remove_blocks,
    remove_units,
    unit_costs,
)
from implementations.harness.contract.helpers import fingerprint, logits, same
from implementations.harness.contract.side_effects import state
from implementations.harness.contract.tiny import (
    MODEL_TYPES,
    ShutModel,
    random_tokens,
    tiny_model,
)
from implementations.harness.model.units import Kind

every_family = pytest.mark.parametrize("family", list(MODEL_TYPES))
INSIDE: tuple[Kind, ...] = (
    "kv-groups",
    "query-heads",
    "value-dims",
    "channels",
    "attention-inputs",
    "attention-outputs",
    "feed-forward-inputs",
    "feed-forward-outputs",
    "sublayers",
)


def grouped(family: str, **shape: int) -> LanguageModel:
    """Return a model with several KV groups."""
    return tiny_model(family, **({"num_key_value_heads": 2} if family == "qwen3" else {}), **shape)


def some(model: LanguageModel, *kinds: Kind, seed: int = 0) -> Tensor:
    """Mark about a third of all units, and at least one in every block."""
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for block in model.blocks:
        for kind in kinds:
            draws = torch.rand(len(unit_costs(block, kind)), generator=generator)
            parts.append((draws < 0.35) | (draws == draws.min()))
    return torch.cat(parts)


def assert_alike(model: LanguageModel, sliced: LanguageModel, mask: Tensor, *kinds: Kind) -> None:
    dense = logits(model)
    with masked(model, mask, *kinds):
        seen = logits(model)
    assert not torch.allclose(seen, dense, rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(seen, logits(sliced), rtol=1e-4, atol=1e-5)


@every_family
@pytest.mark.parametrize("kind", INSIDE)
def test_masking_units_equals_removing_them(family: str, kind: Kind):
    model = grouped(family)
    sliced, mask = copy.deepcopy(model), some(model, kind)
    parts = mask.split([len(unit_costs(block, kind)) for block in model.blocks])
    for block, off in zip(sliced.blocks, parts, strict=True):
        keep_units(block, kind, ~off)
    assert_alike(model, sliced, mask, kind)


@pytest.mark.parametrize("family", [name for name in MODEL_TYPES if name != "opt"])
def test_masking_rotary_pairs_equals_removing_them(family: str):
    model = grouped(family)
    sliced, mask = copy.deepcopy(model), some(model, "rotary-pairs")
    for block, off in zip(sliced.blocks, mask.chunk(2), strict=True):
        keep_units(block, "rotary-pairs", ~off)
    assert_alike(model, sliced, mask, "rotary-pairs")


@every_family
def test_masking_residual_dimensions_of_each_part(family: str):
    model = grouped(family)
    kinds: tuple[Kind, ...] = (
        "attention-inputs",
        "attention-outputs",
        "feed-forward-inputs",
        "channels",
        "feed-forward-outputs",
    )
    sliced, mask = copy.deepcopy(model), some(model, *kinds)
    off = iter(mask.split([len(unit_costs(b, kind)) for b in model.blocks for kind in kinds]))
    silent = []
    for block in sliced.blocks:
        parts = [next(off) for _ in kinds]
        for kind, part in zip(kinds, parts, strict=True):
            keep_units(block, kind, ~part)
        silent.append(parts[1] & parts[4])  # written by neither part of the block
    assert_alike(model, sliced, mask, *kinds)
    with torch.no_grad():
        ids = random_tokens().ids
        stream = sliced.hf.base_model(ids, use_cache=False, output_hidden_states=True).hidden_states
    # Before the last block, because the final norm follows it.
    assert bool(silent[0].any())
    assert torch.equal(stream[0][..., silent[0]], stream[1][..., silent[0]])


@every_family
@pytest.mark.parametrize("removed", [[0], [3], [1, 2]])
def test_masking_blocks_equals_removing_them(family: str, removed: list[int]):
    model = tiny_model(family, blocks=4)
    sliced = copy.deepcopy(model)
    remove_blocks(sliced, removed)
    mask = torch.isin(torch.arange(4), torch.tensor(removed))
    assert_alike(model, sliced, mask, "blocks")


@every_family
def test_masks_several_kinds_in_the_order_of_costs(family: str):
    model = grouped(family, blocks=3)
    kinds: tuple[Kind, Kind] = ("kv-groups", "channels")
    sliced, mask = copy.deepcopy(model), some(model, *kinds)
    remove_units(sliced, mask)
    assert_alike(model, sliced, mask, *kinds)


def test_masks_infinite_values():
    model = tiny_model("opt")
    up = model.blocks[0].feed_forward.up
    up.bias.data[5] = torch.inf
    mask = torch.isin(torch.arange(96), torch.tensor([5]))
    assert not bool(logits(model).isfinite().all())
    with masked(model, mask, "channels"):
        assert bool(logits(model).isfinite().all())


@every_family
@pytest.mark.parametrize("kinds", [("kv-groups", "channels"), ("sublayers",), ("blocks",)])
def test_masks_blocks_on_disk(family: str, kinds: tuple[Kind, ...]):
    model, tokens = grouped(family, blocks=3), random_tokens()
    mask = some(model, *kinds)
    if kinds == ("blocks",):
        mask = torch.tensor([False, False, True])  # the last one says what form the answer has
    with masked(model, mask, *kinds):
        here = perplexity(model, tokens).value
    shut = ShutModel(model)
    before = fingerprint(shut)
    with masked(shut, mask, *kinds):
        assert shut.open is None
        assert perplexity(shut, tokens).value == pytest.approx(here, rel=1e-6)
    assert same(before, fingerprint(shut))


def test_removes_masks_even_after_an_exception():
    model = tiny_model()
    before, weights, dense = state(model), fingerprint(model), logits(model)
    kinds: tuple[Kind, ...] = ("kv-groups", "channels", "sublayers", "blocks")
    mask = some(model, *kinds)
    with masked(model, mask, *kinds):
        assert same(weights, fingerprint(model))
        assert state(model)["hooks"] > before["hooks"]
    assert state(model) == before
    with pytest.raises(KeyboardInterrupt), masked(model, mask, *kinds):
        raise KeyboardInterrupt
    everything: tuple[Kind, ...] = ("channels", "rotary-pairs")  # the second kind is refused
    unrotated = tiny_model("opt")
    with pytest.raises(BadInput, match="no rotary pairs"):
        masked(unrotated, mask, *everything).__enter__()
    assert state(unrotated)["hooks"] == 0
    assert state(model) == before
    assert torch.equal(logits(model), dense)


@pytest.mark.parametrize("wrong", [torch.ones(3).bool(), torch.ones(2), torch.ones(1, 2).bool()])
def test_refuses_mask_of_wrong_shape_or_dtype(wrong: Tensor):
    with pytest.raises(BadInput, match="2 units"), masked(tiny_model(), wrong, "blocks"):
        pytest.fail("was not refused")
