"""Rotated and narrowed residual streams: outputs, copies, and checkpoints."""

from __future__ import annotations

import copy
import io
import json

import pytest
import torch
from transformers import AutoModelForCausalLM

from implementations.harness import LanguageModel, perplexity
from implementations.harness.contract.helpers import logits, same
from implementations.harness.contract.pruned_model import continued
from implementations.harness.contract.tiny import ShutModel, random_tokens, tiny_model
from implementations.harness.measure.memory import footprint
from implementations.harness.model.checkpoint import load_checkpoint
from implementations.harness.model.saving import save_model
from implementations.harness.model.stream_rotation import halves, rotate_embedding
from implementations.harness.model.units import count_weights, residual_widths

ROTATED = ("llama", "mistral", "qwen2", "qwen3")
every_family = pytest.mark.parametrize("family", ROTATED)
DENSE = 32


def basis(width, seed):
    """Return random orthonormal columns, fp64 `[DENSE, width]`."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(DENSE, DENSE, generator=generator, dtype=torch.float64)
    return torch.linalg.qr(noise).Q[:, :width]


def narrowed(family, widths=(24, 16, 8, 16), **shape):
    """Return a model with these widths of the stream, and the dense width at the end."""
    model = tiny_model(family, blocks=(len(widths) + 1) // 2, **shape)
    bases = [basis(width, seed) for seed, width in enumerate(widths)]
    bases += [torch.eye(DENSE, dtype=torch.float64)]
    rotate_embedding(model, bases[0])
    for block in model.blocks:
        at = 2 * block.index
        for half, read, written in zip(halves(block), bases[at:], bases[at + 1 :], strict=False):
            half.read(read)
            half.write(written, read)
    return model


@every_family
def test_rotation_at_full_width_does_not_change_the_output(family):
    whole = narrowed(family, widths=(DENSE,) * 4)
    torch.testing.assert_close(logits(whole), logits(tiny_model(family)), rtol=1e-4, atol=1e-4)
    assert [residual_widths(block) for block in whole.blocks] == [(DENSE,) * 3] * 2
    assert [residual_widths(block) for block in tiny_model(family).blocks] == [None, None]


def test_rotates_biases_of_layers_that_write_the_stream():
    shape = {"attention_bias": True, "mlp_bias": True}
    whole = narrowed("llama", widths=(DENSE,) * 4, **shape)
    dense = tiny_model("llama", **shape)
    assert bool(dense.blocks[0].attention.o.bias.abs().max() > 0.01)
    torch.testing.assert_close(logits(whole), logits(dense), rtol=1e-4, atol=1e-4)


@every_family
def test_widths_may_differ_everywhere(family):
    model = narrowed(family)
    assert [residual_widths(block) for block in model.blocks] == [(24, 16, 8), (8, 16, DENSE)]
    assert bool(logits(model).isfinite().all())


def test_the_footprint_counts_shortcuts():
    dense, model = footprint(tiny_model("qwen2")), narrowed("qwen2")
    inside = count_weights(model).all - count_weights(tiny_model("qwen2")).all
    found = footprint(model)
    assert found.macs - dense.macs == inside
    # The embedding has lost 8 of 32 columns, the first three norms 8, 16 and 24, the last 16.
    assert found.parameters - dense.parameters == inside - 8 * 96 - (8 + 16 + 24 + 16)


def test_walk_equals_the_model():
    model, tokens = narrowed("qwen2"), random_tokens()
    at_once = perplexity(model, tokens).value
    assert perplexity(ShutModel(model), tokens).value == pytest.approx(at_once, rel=1e-6)


# Copies and checkpoints.


@every_family
def test_copies_compute_the_same(family):
    model = narrowed(family)
    expected = logits(model)
    file = io.BytesIO()
    torch.save(model.hf, file)
    file.seek(0)
    for hf in (copy.deepcopy(model.hf), torch.load(file, weights_only=False)):
        assert torch.equal(logits(LanguageModel(hf)), expected)


@every_family
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_reloads_exactly_with_and_without_this_package(family, dtype, tmp_path):
    model = narrowed(family, dtype=dtype)
    save_model(model, tmp_path / "1")
    config = json.loads((tmp_path / "1" / "config.json").read_text())
    assert [shape["residual"] for shape in config["pruned_shapes"]] == [[24, 16, 8], [8, 16, 32]]
    assert "\n- block 0: 24, 16, 8\n" in (tmp_path / "1" / "README.md").read_text()
    ours = load_checkpoint(tmp_path / "1")
    outside = AutoModelForCausalLM.from_pretrained(
        tmp_path / "1", trust_remote_code=True, dtype="auto"
    )
    outside.save_pretrained(tmp_path / "2")
    save_model(LanguageModel(outside), tmp_path / "3")
    prompts = random_tokens(2, 6, seed=2).ids
    for hf in (ours, outside, load_checkpoint(tmp_path / "2"), load_checkpoint(tmp_path / "3")):
        again = LanguageModel(hf)
        assert hf.dtype == dtype
        assert torch.equal(logits(again), logits(model))
        assert same(hf.state_dict(), model.hf.state_dict())
        for cache in (True, False):
            continuation = continued(model, prompts, cache)
            assert torch.equal(continued(again, prompts, cache), continuation)


def test_outputs_hidden_states_and_attentions():
    model = narrowed("qwen2")
    model.hf.config._attn_implementation = "eager"
    ids = random_tokens(2, 6).ids
    found = model.hf(ids, output_hidden_states=True, output_attentions=True)
    assert [state.shape[-1] for state in found.hidden_states] == [24, 8, DENSE]
    assert [weights.shape for weights in found.attentions] == [(2, 4, 6, 6)] * 2
