"""Removing hidden dimensions: shapes, tied weights, norms, reloading with stock classes."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from implementations.harness import BadInput, LanguageModel, gated_hidden
from implementations.harness.contract.helpers import fingerprint, logits, same
from implementations.harness.contract.tiny import MODEL_TYPES, ShutModel, tiny_model
from implementations.harness.model.hidden_width import keep_hidden, multiply_gain
from implementations.harness.model.loading import load_model
from implementations.harness.model.saving import save_model
from implementations.harness.model.view import QUERY_KEY_NORMS
from implementations.harness.results.families import FIXED_WIDTH

pytestmark = pytest.mark.usefixtures("without_gradients")

NARROWED = [family for family in MODEL_TYPES if family not in FIXED_WIDTH]
every_family = pytest.mark.parametrize("family", NARROWED)
KEEP = torch.tensor([i % 4 != 1 for i in range(32)])  # 24 of 32, a multiple of the four heads


@pytest.fixture(scope="module")
def without_gradients():
    with torch.no_grad():
        yield


def narrowed(model: LanguageModel, keep: Tensor = KEEP) -> LanguageModel:
    model = copy.deepcopy(model)
    keep_hidden(model, keep)
    return model


@every_family
@pytest.mark.parametrize("tied", [False, True])
def test_every_reader_and_writer_loses_the_same_dimensions(family: str, tied: bool):
    dense = tiny_model(family, tie_word_embeddings=tied)
    model = narrowed(dense)
    head = model.hf.get_output_embeddings()
    assert model.config.hidden_size == 24
    assert model.embedding.shape == head.weight.shape == (96, 24)
    assert (head.weight is model.embedding) == tied
    assert model.final_norm.weight.shape == (24,)
    for block, was in zip(model.blocks, dense.blocks, strict=True):
        for norm, before in zip(block.stream_norms, was.stream_norms, strict=True):
            assert torch.equal(norm.weight, before.weight[KEEP])
        for linear, before in zip(block.readers, was.readers, strict=True):
            assert torch.equal(linear.weight, before.weight[:, KEEP])
        for linear, before in zip(block.writers, was.writers, strict=True):
            assert torch.equal(linear.weight, before.weight[KEEP])
        for path in QUERY_KEY_NORMS:  # as wide as a head, so they keep their weights
            if path in block.norms:
                assert torch.equal(block.norms[path].weight, was.norms[path].weight)


@every_family
@pytest.mark.parametrize("tied", [False, True])
def test_narrow_model_equals_gates_of_zero(family: str, tied: bool):
    # A large epsilon: it must be added to the mean over the kept dimensions, not over all.
    model = tiny_model(family, tie_word_embeddings=tied, rms_norm_eps=0.3)
    dense = logits(model)
    with gated_hidden(model) as gates:
        assert torch.equal(logits(model), dense)
        gates.values = torch.ones(32)
        assert torch.equal(logits(model), dense)
        gates.values = KEEP.float()
        gated = logits(model)
    assert torch.equal(logits(model), dense)
    torch.testing.assert_close(logits(narrowed(model)), gated, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(gated, dense, atol=0.1)


def test_biases_of_the_residual_stream_are_cut_as_well():
    model = tiny_model(attention_bias=True, mlp_bias=True)
    with gated_hidden(model) as gates:
        gates.values = KEEP.float()
        gated = logits(model)
    torch.testing.assert_close(logits(narrowed(model)), gated, rtol=1e-4, atol=1e-4)


def test_norm_takes_the_mean_square_over_the_kept_dimensions():
    model = tiny_model()
    norm = model.blocks[0].stream_norms[0]
    x = torch.randn(2, 5, 32)
    mean = x[..., KEEP].square().sum(dim=-1, keepdim=True) / 24
    expected = norm.weight[KEEP] * x[..., KEEP] / (mean + norm.variance_epsilon).sqrt()
    with gated_hidden(model) as gates:
        gates.values = KEEP.float()
        gated = norm(x)
    torch.testing.assert_close(gated[..., KEEP], expected)
    assert not gated[..., ~KEEP].any()
    torch.testing.assert_close(narrowed(model).blocks[0].stream_norms[0](x[..., KEEP]), expected)


def test_dead_dimensions_only_scale_the_normed_stream():
    model = tiny_model(rms_norm_eps=1e-12)
    model.embedding[:, ~KEEP] = 0
    for block in model.blocks:
        for linear in block.writers:
            linear.weight[~KEEP] = 0
    expected = logits(model)
    small = narrowed(model)
    for norm in [small.final_norm, *(n for block in small.blocks for n in block.stream_norms)]:
        norm.weight.mul_((32 / 24) ** 0.5)  # undoes the division by fewer dimensions
    torch.testing.assert_close(logits(small), expected, rtol=1e-4, atol=1e-4)


@every_family
def test_stock_class_loads_the_narrow_model(family: str, tmp_path: Path):
    model = narrowed(tiny_model(family, tie_word_embeddings=True))
    save_model(model, tmp_path / "narrow")
    stock = AutoModelForCausalLM.from_pretrained(tmp_path / "narrow", trust_remote_code=False)
    assert stock.config.hidden_size == 24
    assert type(stock) is type(model.hf)
    again = load_model(tmp_path / "narrow", tokenizer=False)
    assert torch.equal(logits(again), logits(model))
    torch.testing.assert_close(logits(LanguageModel(stock)), logits(model))


def test_size_that_the_heads_do_not_divide_cannot_be_saved(tmp_path: Path):
    model = narrowed(tiny_model("llama"), torch.arange(32) < 23)
    with pytest.raises(BadInput, match="no checkpoint can express"):
        save_model(model, tmp_path / "odd")


@every_family
def test_keeping_every_dimension_changes_nothing(family: str):
    model = tiny_model(family)
    before = fingerprint(model)
    keep_hidden(model, range(32))
    assert same(before, fingerprint(model))


@every_family
def test_blocks_are_opened_one_at_a_time(family: str):
    shut = ShutModel(tiny_model(family))
    keep_hidden(shut, KEEP)
    assert same(fingerprint(shut), fingerprint(narrowed(tiny_model(family))))


@every_family
def test_gain_is_multiplied(family: str):
    model, x = tiny_model(family), torch.randn(2, 5, 32)
    norm, factor = model.blocks[0].stream_norms[0], torch.linspace(0.5, 2, 32)
    before = norm(x)
    multiply_gain(model, norm, factor)
    torch.testing.assert_close(norm(x), before * factor)


def test_refuses_what_cannot_be_kept():
    model = tiny_model()
    before = fingerprint(model)
    with pytest.raises(BadInput, match="no hidden dimension 32"):
        keep_hidden(model, [0, 32])
    with pytest.raises(BadInput, match="at least one"):
        keep_hidden(model, [])
    assert same(before, fingerprint(model))
    opt = tiny_model("opt")
    with pytest.raises(BadInput, match="hidden dimensions of opt cannot be removed"):
        keep_hidden(opt, KEEP)
    with (
        pytest.raises(BadInput, match="hidden dimensions of opt cannot be removed"),
        gated_hidden(opt),
    ):
        pass
