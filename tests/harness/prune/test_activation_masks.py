"""Quantiles of absolute values, and products that read only some columns of a weight."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from implementations.harness import get_method
from implementations.harness.contract.tiny import random_tokens, tiny_model
from implementations.harness.measure.generation import cache_argument
from implementations.harness.prune import activation_masks
from implementations.harness.prune.activation_masks import Quantiles, gathered
from implementations.harness.prune.activation_search import STAGES


def quantiles(*parts: torch.Tensor) -> Quantiles:
    counted = Quantiles(parts[0].shape[-1])
    for part in parts:
        counted.update(part)
    return counted


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_threshold_by_hand():
    counted = quantiles(torch.tensor([[1.0, -2, 3, -4]]))
    at, share = counted.threshold(0.5)
    assert at == pytest.approx(2, rel=2**-9)
    assert at >= 2
    assert share == 0.5
    assert counted.threshold(0) == (0, 0)
    assert counted.threshold(1) == (math.inf, 1)
    assert quantiles(torch.zeros(3, 0)).threshold(0.5) == (0, 0)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_share_of_one_sided_values(share: float, dtype: torch.dtype):
    x = drawn(64, 500).abs().to(dtype)
    at, dropped = quantiles(x).threshold(share)
    assert int((x.float() <= at).sum()) == round(dropped * x.numel())
    assert share <= dropped <= share + (0.002 if dtype == torch.float32 else 0.01)


def test_values_of_any_size_have_the_same_precision():
    x = drawn(64, 500)
    for scale in (2.0**-30, 2.0**30):
        at, dropped = quantiles(x * scale).threshold(0.5)
        assert (at / scale, dropped) == quantiles(x).threshold(0.5)


def test_batches_do_not_matter():
    x = drawn(6, 10, 50)
    assert quantiles(x).threshold(0.3) == quantiles(*x.split(1)).threshold(0.3)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_noticed(value: float):
    x = drawn(4, 5)
    assert quantiles(x).finite()
    x[2, 3] = value
    assert not quantiles(x).finite()


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("places", [[], [4], [1, 4, 5, 8, 30, 31, 47], list(range(48))], ids=len)
def test_gathered_columns_give_the_masked_product(places: list[int], threads: int):
    weight, x = drawn(32, 48), drawn(48)
    mask = torch.zeros(48).index_fill(0, torch.tensor(places, dtype=torch.int64), 1)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        y = gathered(weight.t().contiguous(), x, torch.tensor(places, dtype=torch.int64))
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(y, weight @ (mask * x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("slug", "gathering"), [("teal", tuple(STAGES)), ("wina", tuple(STAGES)), ("cats", ("down",))]
)
@pytest.mark.parametrize("samples", [1, 2])
def test_only_a_single_token_of_a_single_text_gathers_columns(
    slug: str, gathering: tuple[str, ...], samples: int, monkeypatch: pytest.MonkeyPatch
):
    method, model = get_method(slug), tiny_model()
    method = method.configure(**method.tiny_settings | {"sparsity": 0.25})
    method.apply(model, random_tokens())
    shapes: list[tuple[int, int]] = []

    def watched(columns: Tensor, *rest: Tensor) -> Tensor:
        shapes.append((columns.shape[1], columns.shape[0]))
        return gathered(columns, *rest)

    monkeypatch.setattr(activation_masks, "gathered", watched)
    ids = random_tokens(samples, 9, seed=1).ids
    with method.active(model, 8):
        cache = cache_argument(model)
        prompt = model.hf(ids[:, :8], use_cache=True)
        assert not shapes
        model.hf(ids[:, 8:], **{cache: prompt[cache]})
    layers = [block.linears()[role] for block in model.blocks for role in gathering]
    expected = [tuple(layer.weight.shape) for layer in layers] if samples == 1 else []
    assert sorted(shapes) == sorted(expected)
    for block, counts in zip(model.blocks, model.calibrated.counts, strict=True):
        assert set(counts) == ({"up", "down"} if slug == "cats" else set(gathering))
        for role, (_, every) in counts.items():
            layer = block.linears()["down" if slug == "cats" else role]
            assert every == samples * layer.in_features
