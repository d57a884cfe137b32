"""The backward walk gives the gradients of a plain backward pass and has no side effects."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from implementations.harness import (
    BackwalkedBlock,
    BadInput,
    LanguageModel,
    NumericsError,
    Tokens,
    backwalk,
    keep_units,
)
from implementations.harness.contract.side_effects import state
from implementations.harness.contract.tiny import (
    MODEL_TYPES,
    ShutModel,
    random_tokens,
    tiny_model,
)
from implementations.harness.prune import backwalk as module

every_family = pytest.mark.parametrize("family", list(MODEL_TYPES))
double = torch.float64


def roles(model: LanguageModel) -> tuple[str, ...]:
    return tuple(model.blocks[0].linears())


def loss(model: LanguageModel, ids: Tensor) -> Tensor:
    """Return the mean loss of one sample `[length]`."""
    logits = model.hf(input_ids=ids[None], use_cache=False).logits[0]
    return cross_entropy(logits[:-1].to(torch.promote_types(logits.dtype, torch.float32)), ids[1:])


def plain(model: LanguageModel, tokens: Tokens) -> list[dict[str, list[Tensor]]]:
    """Return the gradient of every weight for every sample, by one full backward pass each."""
    seen: list[dict[str, list[Tensor]]] = [{} for _ in model.blocks]
    for ids in tokens.ids:
        model.hf.zero_grad()
        loss(model, ids).backward()
        for block in model.blocks:
            for role, linear in block.linears().items():
                gradient = linear.weight.grad  # None where the heads were removed
                gradient = torch.zeros_like(linear.weight) if gradient is None else gradient.clone()
                seen[block.index].setdefault(role, []).append(gradient)
    model.hf.zero_grad()
    return seen


def by_masks(model: LanguageModel, tokens: Tokens, role: str) -> list[Tensor]:
    """Return the gradients of factors on a layer's inputs, `[samples, in]` for every block.

    The factors are parameters of their own here, which every layer's inputs are multiplied by.
    """
    linears = [block.linears()[role] for block in model.blocks]
    factors = [torch.ones(linear.in_features, dtype=double) for linear in linears]
    handles = [
        linear.register_forward_pre_hook(lambda _, args, factor=factor: (args[0] * factor,))
        for linear, factor in zip(linears, factors, strict=True)
    ]
    rows = []
    for ids in tokens.ids:
        for factor in factors:
            factor.requires_grad_()
        rows.append(torch.autograd.grad(loss(model, ids), factors))
    for handle in handles:
        handle.remove()
    return [torch.stack(column) for column in zip(*rows, strict=True)]


def walked(model: LanguageModel, tokens: Tokens, **asked) -> list[BackwalkedBlock]:
    """Return the blocks of a backward walk, in forward order."""
    seen = []
    for block in backwalk(model, tokens, **asked):
        seen.append(block)
    assert [block.index for block in seen] == list(reversed(range(len(model.layers))))
    return seen[::-1]


def close(a: Tensor, b: Tensor) -> None:
    """Compare relative to the largest value, as norms and rotary embeddings use fp32."""
    assert a.shape == b.shape
    assert a.dtype == b.dtype
    if b.numel():
        torch.testing.assert_close(a, b, rtol=0, atol=2e-6 * float(b.abs().max()))


# Gradients


@every_family
@pytest.mark.parametrize("batch_size", [1, 4])
def test_gradients_equal_those_of_a_full_backward_pass(family: str, batch_size: int):
    model = tiny_model(family, blocks=3, dtype=double)
    tokens = random_tokens(samples=5, batch_size=batch_size)
    expected = plain(model, tokens)
    seen = walked(model, tokens, gradients=roles(model))
    for block, reference in zip(seen, expected, strict=True):
        assert list(block.gradients) == list(reference)
        assert block.squares == block.absolutes == block.masks == {}
        for role, gradients in reference.items():
            close(block.gradients[role], torch.stack(gradients).mean(dim=0))


@every_family
def test_squares_are_means_over_samples(family: str):
    model, tokens = tiny_model(family, dtype=double), random_tokens(samples=5)
    expected = plain(model, tokens)
    for block in walked(model, tokens, gradients=("q", "down"), squares=True):
        assert list(block.gradients) == list(block.squares) == ["q", "down"]
        for role in block.squares:
            gradients = torch.stack(expected[block.index][role])
            close(block.squares[role], gradients.square().mean(dim=0))
            close(block.gradients[role], gradients.mean(dim=0))


@every_family
@pytest.mark.parametrize("squares", [False, True])
def test_absolutes_are_means_over_samples(family: str, squares: bool):
    model, tokens = tiny_model(family, dtype=double), random_tokens(samples=5)
    expected = plain(model, tokens)
    for block in walked(model, tokens, gradients=("q", "down"), squares=squares, absolutes=True):
        assert list(block.gradients) == list(block.absolutes) == ["q", "down"]
        assert bool(block.squares) == squares
        for role in block.absolutes:
            gradients = torch.stack(expected[block.index][role])
            close(block.absolutes[role], gradients.abs().mean(dim=0))
            close(block.gradients[role], gradients.mean(dim=0))


@every_family
@pytest.mark.parametrize("batch_size", [1, 4])
def test_by_sample_yields_gradients_of_each_sample(family: str, batch_size: int):
    model = tiny_model(family, blocks=3, dtype=double)
    tokens = random_tokens(samples=5, batch_size=batch_size)
    expected = plain(model, tokens)
    for block in backwalk(model, tokens, gradients=("q", "down"), squares=True):
        for _ in range(2):  # as often as one likes
            for sample, found in enumerate(block.by_sample()):
                assert list(found) == ["q", "down"]
                for role, gradient in found.items():
                    close(gradient, expected[block.index][role][sample])
            assert sample == 4
        # `by_sample` does not affect the gradients of earlier blocks.
        keep_units(block, "channels", [0])


@every_family
@pytest.mark.parametrize("role", ["o", "down", "v"])
def test_mask_gradients_cover_only_their_layer(family: str, role: str):
    # v has the same input as q and k, which must not contribute.
    model, tokens = tiny_model(family, blocks=3, dtype=double), random_tokens(samples=5)
    expected = by_masks(model, tokens, role)
    for block in walked(model, tokens, masks=(role,)):
        close(block.masks[role], expected[block.index])


def test_combined_requests_equal_separate_ones():
    model, tokens = tiny_model(dtype=double), random_tokens()
    together = walked(model, tokens, gradients=("q", "o"), squares=True, masks=("o", "down"))
    for a, b in zip(together, walked(model, tokens, masks=("o", "down")), strict=True):
        assert all(torch.equal(a.masks[role], b.masks[role]) for role in ("o", "down"))
    for a, b in zip(together, walked(model, tokens, gradients=("q", "o")), strict=True):
        for role in ("q", "o"):
            close(a.gradients[role], b.gradients[role])
    for block in walked(model, tokens):
        assert block.gradients == block.squares == block.masks == {}


def test_layers_that_hold_some_rows_and_columns():
    model, tokens = tiny_model(dtype=double), random_tokens()
    for block in model.blocks:
        keep_units(block, "value-dims", range(0, 16, 3))
    expected = plain(model, tokens)
    for block in walked(model, tokens, gradients=("v", "o"), squares=True, masks=("o",)):
        o = model.blocks[block.index].attention.o
        assert block.masks["o"].shape == (len(tokens.ids), o.weight.shape[1])
        for role in ("v", "o"):
            close(block.gradients[role], torch.stack(expected[block.index][role]).mean(dim=0))
        by_column = torch.stack(expected[block.index]["o"]) * o.weight
        close(block.masks["o"], by_column.sum(dim=1).detach())


def test_attention_without_heads_has_no_gradients():
    model, tokens = tiny_model(dtype=double), random_tokens()
    keep_units(model.blocks[0], "kv-groups", [])
    expected = plain(model, tokens)
    first, _ = walked(model, tokens, gradients=("v", "o", "down"), masks=("q", "o", "down"))
    assert first.masks["o"].shape == (len(tokens.ids), 0)
    assert not first.masks["q"].any()
    assert first.gradients["v"].shape == (0, 32)
    close(first.gradients["down"], torch.stack(expected[0]["down"]).mean(dim=0))


def test_head_can_process_few_positions_at_a_time(monkeypatch):
    model, tokens = tiny_model("opt", dtype=double), random_tokens()
    whole = walked(model, tokens, masks=("down",))
    monkeypatch.setattr(module, "PIECE", 5 * model.vocabulary_size)  # 23 positions: 5, 5, 5, 5, 3
    for a, b in zip(whole, walked(model, tokens, masks=("down",)), strict=True):
        close(a.masks["down"], b.masks["down"])


def test_half_precision_gives_close_gradients_in_fp32():
    model, tokens = tiny_model(dtype=torch.bfloat16), random_tokens()
    exact = copy.deepcopy(model)
    exact.hf.float()
    asked = {"gradients": ("q",), "squares": True, "masks": ("down",)}
    for a, b in zip(walked(model, tokens, **asked), walked(exact, tokens, **asked), strict=True):
        for ours, true in (
            (a.gradients["q"], b.gradients["q"]),
            (a.squares["q"], b.squares["q"]),
            (a.masks["down"], b.masks["down"]),
        ):
            assert ours.dtype == torch.float32
            assert float((ours - true).norm() / true.norm()) < 0.05


# Edits


@every_family
def test_edits_do_not_affect_earlier_blocks(family: str):
    tokens = random_tokens()
    dense = walked(tiny_model(family, blocks=3), tokens, gradients=("q",), masks=("o",))
    model = tiny_model(family, blocks=3)
    for block in backwalk(model, tokens, gradients=("q",), masks=("o",)):
        before = dense[block.index]
        assert torch.equal(block.gradients["q"], before.gradients["q"])
        assert torch.equal(block.masks["o"], before.masks["o"])
        with torch.no_grad():
            block.feed_forward.down.weight.zero_()
        keep_units(block, "kv-groups", [0])
    assert all(block.attention.kv_heads == 1 for block in model.blocks)
    assert not any(block.feed_forward.down.weight.any() for block in model.blocks)


# Side effects


def to_the_end(blocks) -> None:
    for block in blocks:
        block.module.train()


def looking_twice(blocks) -> None:
    for block in blocks:
        for _ in block.by_sample():
            break
        for _ in block.by_sample():
            pass


def with_break(blocks) -> None:
    next(blocks)
    blocks.close()


def failing_in_the_body(blocks) -> None:
    for _ in blocks:
        raise KeyboardInterrupt


@pytest.mark.parametrize("way", [to_the_end, looking_twice, with_break, failing_in_the_body])
@pytest.mark.parametrize("outside", [torch.no_grad, torch.enable_grad])
def test_restores_the_model(way: Callable, outside):
    model = tiny_model(blocks=3)
    model.hf.train()
    model.blocks[1].module.eval()
    model.blocks[0].attention.o.requires_grad_(False)
    model.embedding.grad = torch.ones_like(model.embedding)
    before = state(model)
    failing = way is failing_in_the_body
    with outside(), pytest.raises(KeyboardInterrupt) if failing else nullcontext():
        way(backwalk(model, random_tokens(), gradients=roles(model), masks=("o", "down")))
    assert state(model) == before


@pytest.mark.parametrize("call", [1, 3, 4, 6])
def test_restores_the_model_wherever_a_pass_fails(call: int):
    model, calls = tiny_model(), []
    model.hf.train()

    def interrupt(*_) -> None:
        calls.append(call)
        if len(calls) == call:
            raise KeyboardInterrupt

    # Three micro-batches forward and the same three backward.
    handle = model.blocks[-1].attention.module.register_forward_pre_hook(interrupt)
    before = state(model)
    with pytest.raises(KeyboardInterrupt):
        to_the_end(backwalk(model, random_tokens(), gradients=("q",), masks=("o", "down")))
    assert state(model) == before
    handle.remove()


def test_restores_flags_of_a_model_on_disk():
    shut = ShutModel(tiny_model())
    to_the_end(backwalk(shut, random_tokens(), gradients=("q",)))
    for block in shut.visit():
        assert all(parameter.requires_grad for parameter in block.module.parameters())
        assert all(parameter.grad is None for parameter in block.module.parameters())


def test_weights_need_no_requires_grad():
    model, tokens = tiny_model(dtype=double), random_tokens()
    expected = plain(model, tokens)
    model.hf.requires_grad_(False)
    for block in walked(model, tokens, gradients=("gate",)):
        close(block.gradients["gate"], torch.stack(expected[block.index]["gate"]).mean(dim=0))


@pytest.mark.parametrize("asked", [{"masks": ("o", "down")}, {"gradients": ("q",)}])
def test_autograd_stores_nothing_for_weights(asked: dict):
    kept = []
    for needed in (True, False):
        model, sizes = tiny_model(), []
        model.hf.requires_grad_(needed)

        def keep(tensor: Tensor, sizes: list[int] = sizes) -> Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            walked(model, random_tokens(), **asked)
        kept.append(sum(sizes))
    assert kept[0] == kept[1] > 0


# Invalid input


def test_refuses_unknown_role():
    with pytest.raises(BadInput, match=r"no layer 'gate'; use q, k, v, o, up, down"):
        next(backwalk(tiny_model("opt"), random_tokens(), masks=("gate",)))


def test_refuses_samples_of_one_token():
    with pytest.raises(BadInput, match="at least 2 tokens"):
        next(backwalk(tiny_model(), random_tokens(length=1), masks=("o",)))


def test_error_names_the_block_of_values_that_are_not_finite():
    model = tiny_model(blocks=3)
    with torch.no_grad():
        model.blocks[1].attention.v.weight[0, 0] = float("nan")
    with pytest.raises(NumericsError, match=r"block 1\b.*check the weights"):
        next(backwalk(model, random_tokens(), masks=("o",)))


@pytest.mark.parametrize("index", [0, 1])
def test_error_names_the_block_of_gradients_that_are_not_finite(index: int):
    model = tiny_model(blocks=3)

    def overflow(_: torch.nn.Module, __: object, output: Tensor) -> None:
        if output.requires_grad:
            output.register_hook(lambda back: back * float("inf"))

    handle = model.blocks[index].attention.o.register_forward_hook(overflow)
    with pytest.raises(NumericsError, match=f"block {index}: the gradients.*check the weights"):
        to_the_end(backwalk(model, random_tokens(), masks=("o",)))
    handle.remove()
