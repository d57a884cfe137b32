"""Pruning block by block on an accelerator: equal to the CPU, with little memory."""

from __future__ import annotations

import pytest
import torch

from implementations.griffin.prompt import PromptMethod
from implementations.harness import (
    LanguageModel,
    get,
    keep_units,
    methods,
    unit_costs,
    walk,
)
from implementations.harness.contract.tiny import random_tokens, tiny_model
from implementations.harness.measure.memory import peak_memory
from implementations.harness.model.units import Kind, count_weights
from implementations.harness.prune.walk import Gram

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.accelerator.is_available(), reason="no accelerator here"),
]

FOLLOWING = [slug for slug in methods() if issubclass(get(slug), PromptMethod)]

every_method = pytest.mark.parametrize("slug", [s for s in methods() if s not in FOLLOWING])


def block_by_block_model(dtype: torch.dtype = torch.float32, **shape: int) -> LanguageModel:
    """Return a model on the host whose blocks are moved to the accelerator one at a time."""
    model = tiny_model("llama", blocks=4, dtype=dtype, **shape)
    return LanguageModel(model.hf, accelerator=torch.accelerator.current_accelerator())


@every_method
def test_masks_equal_those_of_the_cpu(slug: str) -> None:
    method, tokens = get(slug)(sparsity=0.5), random_tokens(8, 64)
    here, there = tiny_model("llama", blocks=4), block_by_block_model()
    method.apply(here, tokens)
    method.apply(there, tokens)
    assert {p.device.type for p in there.hf.parameters()} == {"cpu"}
    assert count_weights(here) == count_weights(there)
    for (block, role, a), (_, _, b) in zip(here.linears(), there.linears(), strict=True):
        where = f"block {block.index}, {role}"
        assert a.weight.shape == b.weight.shape, where
        agree = (a.weight == 0) == (b.weight == 0)
        assert agree.float().mean() >= 0.99, where  # of a few hundred weights
        torch.testing.assert_close(
            a.weight * agree, b.weight * agree, rtol=1e-2, atol=1e-3, msg=where
        )


@every_method
def test_bf16_models_meet_the_sparsity(slug: str) -> None:
    method, model = get(slug)(sparsity=0.5), block_by_block_model(torch.bfloat16)
    outcome = method.apply(model, random_tokens(8, 64))
    assert abs(outcome.achieved - 0.5) < 0.13  # half of the largest unit, one block of four
    assert {p.dtype for p in model.hf.parameters()} == {torch.bfloat16}
    with torch.no_grad():
        logits = model.hf(random_tokens(2, 16, seed=1).ids).logits
    assert bool(logits.isfinite().all())


@pytest.mark.parametrize("slug", FOLLOWING)
def test_prompt_methods_equal_the_cpu(slug: str) -> None:
    ids, method = random_tokens(2, 32).ids, get(slug)(sparsity=0.2)
    here, there = tiny_model("llama", blocks=4), tiny_model("llama", blocks=4)
    device = torch.accelerator.current_accelerator()
    there = LanguageModel(there.hf.to(device))
    logits = []
    for model in (here, there):
        with torch.no_grad(), method.active(model, 16):
            logits.append(model.hf(ids.to(model.device)).logits.cpu())
    torch.testing.assert_close(logits[0], logits[1], rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("kind", ["query-heads", "value-dims", "rotary-pairs"])
def test_removed_units_equal_those_of_the_cpu(kind: Kind) -> None:
    here, there = tiny_model("llama", blocks=4), block_by_block_model()
    for model in (here, there):
        for block in walk(model, random_tokens(8, 64)):
            keep_units(block, kind, range(0, len(unit_costs(block, kind)), 3))
            block.observe(Gram, "o")
    expected, found = here.hf.state_dict(), there.hf.state_dict()
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        assert torch.equal(tensor, found[name]), name  # on the CPU, as it was


@pytest.mark.parametrize("samples", [8, 32])
@pytest.mark.parametrize("blocks", [4, 8])
def test_memory_is_bounded_by_two_blocks_and_one_micro_batch(samples: int, blocks: int) -> None:
    hidden, channels, length = 512, 2048, 64
    model = tiny_model(
        "llama", blocks=blocks, hidden_size=hidden, intermediate_size=channels, head_dim=128
    )
    model = LanguageModel(model.hf, accelerator=torch.accelerator.current_accelerator())
    tokens = random_tokens(samples, length, batch_size=2)
    block = sum(p.numel() * p.element_size() for p in model.layers[0].parameters())
    grams = 4 * (3 * hidden**2 + channels**2)  # inputs of q, o, gate and down, fp32
    working = 4 * 2 * length * (8 * hidden + 4 * channels)  # activations alive inside a block
    for _ in range(2):  # the first time libraries take workspaces, which stay
        with peak_memory(model.accelerator) as watch:
            for seen in walk(model, tokens):
                seen.observe(Gram)
    assert watch.peak.above_start <= 2 * block + grams + working
