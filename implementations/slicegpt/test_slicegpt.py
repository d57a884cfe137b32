"""SliceGPT: rotations, principal axes, number of weights, a real model."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from implementations.harness import (
    BadInput,
    Gram,
    LanguageModel,
    NumericsError,
    Tokens,
    get_method,
    walk,
)
from implementations.harness.contract.helpers import logits
from implementations.harness.contract.tiny import random_tokens, tiny_model
from implementations.harness.model.stream_rotation import rotate_embedding
from implementations.harness.model.units import count_weights
from implementations.slicegpt import SliceGPT, slicegpt
from implementations.slicegpt.slicegpt import (
    embedding_gram,
    principal_axes,
    slice_block,
    weights_left,
)

pytestmark = pytest.mark.usefixtures("without_gradients")

ROTATED = ("llama", "mistral", "qwen2", "qwen3")
every_family = pytest.mark.parametrize("family", ROTATED)


def sliced(model: LanguageModel, tokens: Tokens, width: int) -> LanguageModel:
    """Return a copy with a stream of `width` dimensions."""
    model = copy.deepcopy(model)
    basis = slicegpt.principal_axes(embedding_gram(model, tokens), width, "the embedding")
    rotate_embedding(model, basis)
    for block in walk(model, tokens):
        basis = slice_block(block, basis, last=block.index == len(model.blocks) - 1)
    return model


def raw_axes(gram: Gram, width: int, where: str) -> Tensor:
    """Return the first dimensions, for slicing without a rotation."""
    return torch.eye(len(gram.matrix), width, dtype=torch.float64)


def streams(model: LanguageModel, tokens: Tokens) -> list[Tensor]:
    """Return the inputs of each half of each block, `[tokens, width]`."""
    seen: list[Tensor] = []
    handles = [
        norm.register_forward_pre_hook(lambda _, args: seen.append(args[0].flatten(0, 1)))
        for block in model.blocks
        for norm in list(block.norms.values())[:2]
    ]
    logits(model, tokens)
    for handle in handles:
        handle.remove()
    return seen


# Rotations


def test_epsilon_keeps_its_effect():
    # So large that it decides: a norm that took the model's own over fewer dimensions would differ.
    model = tiny_model("qwen2", rms_norm_eps=0.5)
    tokens = random_tokens()
    torch.testing.assert_close(
        logits(sliced(model, tokens, 32)), logits(model), rtol=1e-4, atol=1e-4
    )
    narrow = sliced(model, tokens, 24)
    assert narrow.blocks[0].norms["input_layernorm"].variance_epsilon == 0.5 * 32 / 24


@every_family
def test_slicing_equals_projecting(family: str, monkeypatch: pytest.MonkeyPatch):
    # The dense model, its stream projected on the axes that are left wherever the basis changes.
    model, tokens = tiny_model(family, blocks=3), random_tokens(length=8)  # within every window
    bases = kept_axes(monkeypatch)
    narrow = sliced(model, tokens, 24)
    projections = [basis.float() @ basis.T.float() for basis in bases]
    ids = random_tokens(3, 8, seed=1).ids
    h = model.hf.get_input_embeddings()(ids) @ projections.pop(0)
    rotary = model.decoder.rotary_emb(h, torch.arange(8)[None])
    for block in model.blocks:
        first, second = list(block.norms.values())[:2]
        attended, _ = block.attention.module(
            hidden_states=first(h), position_embeddings=rotary, attention_mask=None
        )
        h = (h + attended) @ projections.pop(0)
        h = h + block.module.mlp(second(h))
        h = h @ projections.pop(0) if projections else h
    expected = model.hf.lm_head(model.decoder.norm(h))
    torch.testing.assert_close(narrow.hf(ids).logits, expected, rtol=1e-4, atol=1e-4)


def kept_axes(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Collect every computed basis."""
    taken, bases = slicegpt.principal_axes, []

    def recorded(*arguments) -> Tensor:
        bases.append(taken(*arguments))
        return bases[-1]

    monkeypatch.setattr(slicegpt, "principal_axes", recorded)
    return bases


# Axes


def test_principal_axes_by_hand():
    gram = Gram(3, dtype=torch.float64)
    gram.update(torch.tensor([[0.0, 3.0, 3.0], [0.0, 1.0, -1.0], [0.1, 0.0, 0.0]]))
    axes = principal_axes(gram, 2, "here")
    half = 0.5**0.5
    expected = torch.tensor([[0, half, half], [0, half, -half]], dtype=torch.float64).T
    torch.testing.assert_close(axes.abs(), expected.abs())
    assert axes.gather(0, axes.abs().argmax(dim=0, keepdim=True)).min() > 0
    torch.testing.assert_close(
        (axes[:, 0] @ axes[:, 1]).abs(), torch.zeros((), dtype=torch.float64)
    )


def test_axes_are_computed_before_the_norm(
    monkeypatch: pytest.MonkeyPatch,
):
    model, tokens = tiny_model("qwen2"), random_tokens()
    bases = kept_axes(monkeypatch)
    sliced(model, tokens, 32)
    x = streams(model, tokens)[1].double()  # between the halves of the first block
    energy = (bases[1].T @ (x.T @ x) @ bases[1]).diagonal()
    torch.testing.assert_close(energy, torch.linalg.eigvalsh(x.T @ x).flip(0), rtol=1e-5, atol=1e-5)


def test_every_half_sees_the_sliced_earlier_halves(monkeypatch: pytest.MonkeyPatch):
    model, tokens = tiny_model("qwen2", blocks=3), random_tokens()
    bases = kept_axes(monkeypatch)
    narrow = sliced(model, tokens, 16)
    # The stream of the finished model, back in the dense basis, has its energy on the kept axes.
    x = streams(narrow, tokens)[4].double()  # before the last block, in the basis behind the second
    energy = x.square().sum(dim=0)
    assert bool((energy.diff() <= 1e-3 * energy[0]).all())  # descends, as its own axes do
    products = x.T @ x
    rest = products - torch.diag(products.diagonal())
    assert float(rest.abs().max()) < 1e-3 * float(energy[0])  # and the axes do not mix
    assert len(bases) == 1 + 2 * 2 + 1


def test_embedding_axes_weight_tokens_by_frequency():
    model = tiny_model()
    ids = torch.tensor([[5, 5, 5, 7]])
    x = model.embedding[ids[0]].double()
    torch.testing.assert_close(embedding_gram(model, Tokens.from_ids(ids, "given")).matrix, x.T @ x)


def test_error_names_the_position_of_values_that_are_not_finite():
    gram = Gram(2, dtype=torch.float64)
    gram.update(torch.tensor([[float("nan"), 1.0]]))
    with pytest.raises(NumericsError, match="block 3, between"):
        principal_axes(gram, 1, "block 3, between its halves")


# Shapes and weights


@every_family
def test_shapes_and_the_count_of_weights(family: str):
    model = tiny_model(family, blocks=3)
    outcome = SliceGPT(sparsity=0.3).apply(model, random_tokens())
    n, d = outcome.details["width"], 32
    assert outcome.details["slicing"] == 1 - n / d
    assert weights_left(tiny_model(family, blocks=3), 8)[n] == count_weights(model).all
    for block in model.blocks:
        after = d if block.index == 2 else n
        linears = block.linears()
        assert {linears[role].weight.shape[1] for role in ("q", "k", "v", "gate", "up")} == {n}
        assert linears["o"].weight.shape[0] == n
        assert linears["down"].weight.shape[0] == after
        assert block.module.attn_shortcut.weight.shape == (n, n)
        assert block.module.mlp_shortcut.weight.shape == (after, n)
    assert model.embedding.shape == (96, n)
    assert model.hf.lm_head.weight.shape == (96, d)
    assert model.config.tie_word_embeddings is False


def test_weights_left_by_hand():
    # q, k, v read 16 + 8 + 8, gate and up 12 each; o reads 16, down 12; two shortcuts.
    model = tiny_model(
        hidden_size=16, intermediate_size=12, num_attention_heads=2, num_key_value_heads=1
    )
    n = 8
    first = n * (32 + 24) + n * 16 + n * n + n * 12 + n * n
    last = n * (32 + 24) + n * 16 + n * n + 16 * 12 + 16 * n
    dense = 2 * (16 * (32 + 24) + 16 * 16 + 16 * 12)
    assert weights_left(model, 8) == {16: dense, 8: first + last}


def test_does_not_change_the_model_if_no_width_is_near_the_sparsity():
    model = tiny_model()
    before = model.embedding.clone()
    outcome = SliceGPT(sparsity=1e-6).apply(model, random_tokens())
    assert outcome.achieved == 0
    assert torch.equal(model.embedding, before)


def test_unties_a_tied_head():
    model = tiny_model("llama")
    assert model.hf.lm_head.weight is model.embedding
    head = model.hf.lm_head.weight.clone()
    SliceGPT(sparsity=0.3).apply(model, random_tokens())
    assert torch.equal(model.hf.lm_head.weight, head)
    assert model.hf.lm_head.weight is not model.embedding


# Invalid input


@pytest.mark.parametrize("slug", ["slicegpt", "flap"])
def test_a_sliced_model_is_not_pruned_again(slug: str):
    model = tiny_model()
    SliceGPT(sparsity=0.3).apply(model, random_tokens())
    with pytest.raises(BadInput, match="prune the dense model"):
        get_method(slug).configure().apply(model, random_tokens())


def test_a_multiple_wider_than_the_model_leaves_nothing_to_remove():
    with pytest.raises(BadInput, match="at most 0 of"):
        SliceGPT(multiple=64).apply(tiny_model(), random_tokens())


# The real model


@pytest.mark.model
def test_on_real_blocks_principal_axes_beat_others_by_far(
    first_blocks, monkeypatch: pytest.MonkeyPatch
):
    sample = replace(
        first_blocks.calibration,
        ids=first_blocks.calibration.ids[:1],
        spans=first_blocks.calibration.spans[:1],
    )

    def error(width: int) -> float:
        moved = first_blocks.run(sliced(first_blocks.dense, sample, width))
        moved = moved - first_blocks.outputs
        return float(moved.square().sum() / first_blocks.outputs.square().sum())

    assert error(576) < 1e-8
    narrow = error(448)
    monkeypatch.setattr(slicegpt, "principal_axes", raw_axes)
    assert narrow < error(448) / 2
