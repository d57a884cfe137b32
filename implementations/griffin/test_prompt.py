"""Methods that select channels for each prompt: shapes, random numbers, and arguments."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from implementations.griffin import prompt as module
from implementations.harness import BadInput
from implementations.harness.contract.tiny import random_tokens, tiny_model
from implementations.harness.measure.generation import greedy
from tests.harness.contract.toys import Prompted

IDS = random_tokens(2, 20, seed=3).ids


@pytest.fixture
def shapes(monkeypatch) -> list[tuple[int, ...]]:
    """Record the shapes of the narrow layers that were used."""
    seen: list[tuple[int, ...]] = []
    plain = module.multiply

    def watched(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        seen.append(tuple(weight.shape))
        return plain(x, weight, bias)

    monkeypatch.setattr(module, "multiply", watched)
    return seen


@pytest.mark.parametrize("family", ["llama", "opt"])
def test_decoding_uses_narrow_layers(shapes, family: str):
    model, method = tiny_model(family), Prompted(sparsity=0.2)
    kept = method.kept(model)
    with method.active(model, 12):
        list(greedy(model, IDS[:1, :12], 4))
    enter = 2 if family == "llama" else 1
    step = [shape for k in kept for shape in (*[(k, 32)] * enter, (32, k))]
    assert shapes == 3 * step  # the prefill produces the first token


def test_batch_with_several_selections_is_masked(shapes):
    model = tiny_model()
    with Prompted(sparsity=0.2).active(model, 12):
        list(greedy(model, IDS[:, :12], 4))
    assert shapes == []


def test_random_numbers_depend_on_block_and_seed():
    drawn: list[Tensor] = []

    class Drawing(Prompted):
        def scores(self, block, evidence, generator):
            drawn.append(torch.rand(1, evidence.shape[-1], generator=generator))
            return drawn[-1]

    model = tiny_model()
    for seed in (0, 0, 1):
        with torch.no_grad(), Drawing(sparsity=0.2).active(model, 12, seed):
            model.hf(input_ids=IDS[:1], use_cache=False)
    first, second, again, _, *others = drawn
    assert torch.equal(first, again)
    for other in (second, *others):
        assert not torch.equal(first, other)
    assert not torch.equal(second, others[0])


@pytest.mark.parametrize("shape", [(2, 19), (2, 1, 20, 20)])
def test_refuses_attention_mask_of_wrong_shape(shape):
    model = tiny_model()
    mask = torch.ones(shape, dtype=torch.int64)
    with (
        Prompted().active(model, 12),
        pytest.raises(BadInput, match="`attention_mask` must have the shape"),
    ):
        model.hf(input_ids=IDS, attention_mask=mask, use_cache=False)


def test_accepts_embeddings_instead_of_ids():
    model = tiny_model()
    with torch.no_grad(), Prompted(sparsity=0.2).active(model, 12):
        by_ids = model.hf(input_ids=IDS, use_cache=False).logits
        inputs = model.hf.get_input_embeddings()(IDS)
        assert torch.equal(model.hf(inputs_embeds=inputs, use_cache=False).logits, by_ids)
