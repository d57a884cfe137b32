"""Shapes that all decoder layers share: weights, sizes, and cutting a model to one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from implementations.harness import BadInput, keep_channels, keep_kv_groups
from implementations.harness.contract.helpers import logits
from implementations.harness.contract.tiny import MODEL_TYPES, tiny_model
from implementations.harness.model.saving import save_model
from implementations.harness.model.surgery import keep_query_heads
from implementations.harness.model.units import total_weights
from implementations.harness.prune.uniform_shape import cut_to_shape, shape_of, sizes
from tests.masking import mask_units

every_family = pytest.mark.parametrize("family", list(MODEL_TYPES))


@every_family
def test_weights_of_the_shape_are_those_of_the_model(family: str):
    model = tiny_model(family, blocks=3)
    shape = shape_of(model)
    assert shape.weights == total_weights(model)
    keep_channels_everywhere(model, 40)
    assert replace(shape, channels=40).weights == total_weights(model)
    assert shape.weights - replace(shape, channels=47).weights == shape.channel_weights


def keep_channels_everywhere(model, count: int) -> None:
    for block in model.blocks:
        keep_channels(block.feed_forward, range(count))


def test_channels_fill_the_budget():
    shape = shape_of(tiny_model())  # hidden 32, 48 channels of 96 weights, attention 3,072
    assert shape.weights == 2 * (3_072 + 48 * 96)
    narrow = replace(shape, hidden=24)
    options = list(sizes(48, 8, fewest=20))
    assert options == [48, 40, 32, 24]
    assert narrow.filled(0.5 * shape.weights, options).channels == 24
    assert narrow.filled(0.6 * shape.weights, options).channels == 32
    assert narrow.filled(shape.weights, options).channels == 48  # all of them are too few
    assert list(sizes(50, 8))[:3] == [50, 48, 40]


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "gemma3"])
def test_stock_class_loads_the_cut_model(family: str, tmp_path: Path):
    model = tiny_model(family)
    group = model.blocks[0].attention.group
    heads = torch.arange(4) % group == 0
    cut_to_shape(model, torch.arange(32) < 24, [heads] * 2, [torch.arange(48) % 2 == 0] * 2)
    expected = replace(shape_of(tiny_model(family)), hidden=24, group=1, channels=24)
    assert shape_of(model) == expected
    assert total_weights(model) == expected.weights
    save_model(model, tmp_path / "cut")
    stock = AutoModelForCausalLM.from_pretrained(tmp_path / "cut", trust_remote_code=False)
    assert stock.config.num_attention_heads == int(heads.sum())
    ids = torch.tensor([[5, 9, 11, 40]])
    with torch.no_grad():
        torch.testing.assert_close(stock(ids).logits, model.hf(ids).logits)


@every_family
def test_removed_query_heads_equal_masked_ones(family: str):
    small, masked = (tiny_model(family) for _ in range(2))
    group = small.blocks[0].attention.group
    keep = [head for head in range(4) if head % group == group - 1]  # the last of every group
    for block, other in zip(small.blocks, masked.blocks, strict=True):
        keep_query_heads(block.attention, keep)
        mask_units(other, "query-heads", keep)
        assert block.attention.o.weight.shape[1] == len(keep) * block.attention.head_size
        assert block.attention.kv_heads == other.attention.kv_heads
    torch.testing.assert_close(logits(small), logits(masked), rtol=1e-4, atol=1e-4)


def test_refuses_unequal_groups_and_layers():
    model = tiny_model()
    with pytest.raises(BadInput, match=r"same number of query heads.*\[2, 1\]"):
        keep_query_heads(model.blocks[0].attention, [0, 1, 2])
    with pytest.raises(BadInput, match="at least one"):
        keep_query_heads(model.blocks[0].attention, [])
    keep_kv_groups(model.blocks[0].attention, [0])
    with pytest.raises(BadInput, match="same shape"):
        shape_of(model)
