"""GRIFFIN: the statistic, the selection, shared selections, and a real model."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from implementations.griffin import Griffin
from implementations.griffin.griffin import magnitude
from implementations.harness import LanguageModel, Tokens, get_method, load_model, split_perplexity
from implementations.harness.contract.tiny import MODEL_TYPES, random_tokens, tiny_model
from implementations.harness.measure.generation import cache_argument

pytestmark = pytest.mark.usefixtures("without_gradients")

every_family = pytest.mark.parametrize("family", list(MODEL_TYPES))


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def scores(method: Griffin, inner: Tensor) -> Tensor:
    """Score the channels of a prompt, `inner [samples, tokens, channels]`."""
    block = tiny_model().blocks[0]
    return method.scores(block, method.evidence(inner).sum(dim=1), generator())


def inner_of(model: LanguageModel, index: int, ids: Tensor) -> Tensor:
    """Return the inputs of `down`, `[samples, tokens, channels]`."""
    seen: list[Tensor] = []
    down = model.blocks[index].feed_forward.down
    handle = down.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    model.hf(input_ids=ids, use_cache=False)
    handle.remove()
    return seen[0].reshape(*ids.shape, -1)


def silenced(model: LanguageModel, ids: Tensor, prompt: int, kept: list[Tensor]) -> Tensor:
    """Return the logits where later positions use the channels `kept` of each block only."""
    twin = copy.deepcopy(model)
    for block, mask in zip(twin.blocks, kept, strict=True):

        def hide(_: Any, args: tuple[Tensor], mask: Tensor = mask) -> Tensor:
            inner = args[0].reshape(*ids.shape, -1).clone()
            inner[:, prompt:] *= mask.float()
            return inner.view_as(args[0])

        block.feed_forward.down.register_forward_pre_hook(hide)
    return twin.hf(input_ids=ids, use_cache=False).logits


# The statistic


def test_the_statistic_by_hand() -> None:
    inner = torch.tensor([[[3.0, 0.0, 4.0], [0.0, 0.0, 5.0]]])
    torch.testing.assert_close(scores(Griffin(), inner), torch.tensor([[0.6, 0.0, 1.64**0.5]]))


def test_token_without_activations_does_not_count() -> None:
    inner = torch.randn(1, 9, 48, generator=generator())
    silent = torch.cat([inner, torch.zeros(1, 3, 48)], dim=1)
    assert torch.equal(scores(Griffin(), silent), scores(Griffin(), inner))


# Selection


@every_family
def test_keeps_the_largest_activations_of_the_prompt(family: str) -> None:
    model, ids, method = tiny_model(family), random_tokens(2, 20).ids, Griffin(sparsity=0.25)
    with method.active(model, 12):
        found = model.hf(input_ids=ids, use_cache=False).logits
    kept = []
    for index, count in enumerate(method.kept(model)):
        seen = inner_of(model, index, ids)[:, :12]
        part = seen / seen.norm(dim=-1, keepdim=True)
        order = part.square().sum(dim=1).sqrt().argsort(dim=1, descending=True)
        mask = torch.zeros(2, 48).scatter(1, order[:, :count], 1)
        kept.append(mask[:, None])
    torch.testing.assert_close(found, silenced(model, ids, 12, kept), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_every_block_keeps_equally_many_channels(share: float) -> None:
    model = tiny_model(blocks=4)
    method = Griffin(sparsity=share)
    total = sum(linear.weight.numel() for _, _, linear in model.linears())
    channels = share * total / (4 * 3 * 32)  # of each block, on average
    assert method.kept(model) == pytest.approx([48 - channels] * 4, abs=1)
    assert sum(method.kept(model)) == round(4 * (48 - channels))


# A batch with one selection


def test_shared_selection_weights_texts_equally() -> None:
    inner = torch.randn(1, 8, 48, generator=generator())
    long, short = inner.repeat(1, 4, 1), torch.randn(1, 8, 48, generator=generator()).abs()
    method = Griffin(shared=True)
    evidence = torch.cat([method.evidence(x).sum(dim=1) for x in (long, short)])
    found = method.scores(tiny_model().blocks[0], evidence, generator())
    parts = [scores(Griffin(), x) / 8**0.5 for x in (inner, short)]
    assert found.shape == (1, 48)
    torch.testing.assert_close(found, parts[0] + parts[1])


def test_shared_selection_is_the_same_in_prefill_and_decoding() -> None:
    model, ids = tiny_model(), random_tokens(3, 20).ids
    with Griffin(sparsity=0.25, shared=True).active(model, 12):
        whole = model.hf(input_ids=ids, use_cache=False).logits
        output = model.hf(input_ids=ids[:, :12], use_cache=True)
        cache = cache_argument(model)
        later = model.hf(input_ids=ids[:, 12:], **{cache: output[cache]}).logits
    torch.testing.assert_close(later, whole[:, 12:], rtol=1e-4, atol=1e-4)
    with Griffin(sparsity=0.25).active(model, 12):
        apart = model.hf(input_ids=ids, use_cache=False).logits
    assert not torch.allclose(apart[:, 12:], whole[:, 12:], atol=1e-2)


# Baselines


def test_magnitude_is_the_product_of_the_norms() -> None:
    block = tiny_model().blocks[0]
    gate, up = (block.linears()[role].weight for role in ("gate", "up"))
    expected = [float(gate[j].norm() * up[j].norm()) for j in range(48)]
    torch.testing.assert_close(magnitude(block), torch.tensor(expected))
    alone = tiny_model("opt").blocks[0]
    torch.testing.assert_close(magnitude(alone), alone.feed_forward.up.weight.norm(dim=1))


@pytest.mark.parametrize("select", ["magnitude", "random"])
def test_baselines_ignore_the_prompt(select: str) -> None:
    method = Griffin(select=select)
    a, b = (scores(method, torch.randn(1, 9, 48, generator=g)) for g in (generator(), None))
    assert torch.equal(a, b)


def test_sampling_draws_in_proportion_to_the_statistic() -> None:
    inner = torch.ones(1, 4, 48)
    inner[..., :24] = 0.5
    method, block = Griffin(select="sampled"), tiny_model().blocks[0]
    evidence, counts = method.evidence(inner).sum(dim=1), torch.zeros(48)
    for seed in range(300):
        drawn = method.scores(block, evidence, torch.Generator().manual_seed(seed))
        counts[drawn[0].topk(1).indices] += 1
    # A third of the draws; in proportion to the squares, it would be a fifth.
    assert float(counts[:24].sum()) == pytest.approx(100, abs=20)
    assert counts[24:].max() < 25  # 8.3 on average: none is preferred among equals


# A real model


@pytest.fixture(scope="module")
def real() -> tuple[LanguageModel, Tokens]:

    from implementations.harness.data.samples import prepare_samples

    model = load_model("smollm2-135m")
    tokens = prepare_samples("quick", model).evaluations["ppl/wikipedia/512"]
    return model, Tokens.from_ids(tokens.ids[:2, :320].clone())


@pytest.mark.model
def test_on_a_real_model_it_beats_magnitude_and_random_selection(real) -> None:
    model, tokens = real
    dense = split_perplexity(model, tokens, 256).value
    found = {}
    for select in ("prompt", "magnitude", "random"):
        with get_method("griffin").configure(sparsity=0.1, select=select).active(model, 256):
            found[select] = split_perplexity(model, tokens, 256).value
    assert dense < found["prompt"] < min(found["magnitude"], found["random"])
