"""A model's logits over token samples, also where only one block at a time fits the accelerator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn

from implementations.harness.data.activations import Boundary, replaced_forward
from implementations.harness.data.tokens import Tokens, check_vocabulary
from implementations.harness.errors import BadInput
from implementations.harness.model.devices import lent, tensors
from implementations.harness.model.view import LanguageModel, preserved
from implementations.harness.progress import track


def logits(model: LanguageModel, tokens: Tokens, batch_size: int | None = None) -> Iterator[Tensor]:
    """Yield the logits `[batch, length, vocabulary]` of each micro-batch of `tokens.batches()`.

    They are on the accelerator and in the model's dtype. Whoever drops one micro-batch's before
    asking for the next never holds two. Raises `BadInput` for ids beyond the vocabulary and for a
    batch size below 1, `NumericsError` where a block puts out NaN or infinity.
    """
    check_vocabulary(tokens, model.vocabulary_size)
    size = tokens.batch_size if batch_size is None else batch_size
    if size < 1:
        raise BadInput(f"batch size {size}: it must be at least 1")
    run = at_once if model.accelerator == model.device else block_by_block
    return run(model, tokens, size)


def at_once(model: LanguageModel, tokens: Tokens, batch_size: int) -> Iterator[Tensor]:
    """Run `logits` where the whole model lives."""
    with preserved(model):
        model.hf.eval()
        for ids in _batches(tokens, batch_size):
            yield _call(model, ids.to(model.device))


def block_by_block(model: LanguageModel, tokens: Tokens, batch_size: int) -> Iterator[Tensor]:
    """Run `logits` with one decoder block at a time on the accelerator, each moved there once.

    Between two blocks the activations of all `tokens` wait on the host.
    """
    with preserved(model):
        model.hf.eval()
        with _output_types(model.layers[-1]) as types:
            boundary = Boundary(model, tokens, batch_size)
            for block in track(model.blocks, f"reading {tokens.source} block by block"):
                with model.opened(block), lent(tensors(block.module), model.accelerator):
                    for i, _, y in boundary.run(block):
                        boundary.advance(i, block, y)
        outputs = boundary.hidden  # of the last block, [batch, length, hidden] each
        with lent(_outside_blocks(model), model.accelerator):
            for ids, host in zip(_batches(tokens, batch_size), outputs, strict=True):
                hidden = host.to(model.accelerator)
                answer = (hidden,) if tuple in types else hidden  # a tuple in older releases
                yield _call_around(model, ids.to(model.accelerator), answer)


def on_accelerator(model: LanguageModel) -> AbstractContextManager[None]:
    """Let `model.hf` be called with inputs on `model.accelerator` inside the `with` block.

    For callers that need the Hugging Face model itself, such as generation. Where the weights live
    on the accelerator nothing is moved, otherwise see `streamed`.
    """
    return nullcontext() if model.accelerator == model.device else streamed(model)


@contextmanager
def streamed(model: LanguageModel) -> Iterator[None]:
    """Lend each decoder block to the accelerator whenever it is called, and the rest throughout.

    Slow, since every call moves every block, but it never needs more than one of them there.
    """
    with ExitStack() as stack:
        stack.enter_context(lent(_outside_blocks(model), model.accelerator))
        for module in model.layers:
            call = partial(_lent_call, module, module.forward, model.accelerator)
            stack.enter_context(replaced_forward(module, call))
        yield


def _lent_call(
    module: nn.Module, forward: Callable[..., Any], device: torch.device, *args: Any, **kwargs: Any
) -> Any:
    with lent(tensors(module), device):
        return forward(*args, **kwargs)


def _call(model: LanguageModel, ids: Tensor) -> Tensor:
    with torch.no_grad():
        result: Tensor = model.hf(input_ids=ids, use_cache=False).logits
    return result


def _call_around(model: LanguageModel, ids: Tensor, answer: Any) -> Tensor:
    """Run what the model does before and after its blocks, which all give `answer`."""
    with ExitStack() as patches:
        for module in model.layers:
            patches.enter_context(replaced_forward(module, lambda *_, **__: answer))
        return _call(model, ids)


@contextmanager
def _output_types(module: nn.Module) -> Iterator[set[type]]:
    """Collect the types of what `module` returns."""
    types: set[type] = set()
    handle = module.register_forward_hook(lambda _, __, output: types.add(type(output)))
    try:
        yield types
    finally:
        handle.remove()


def _batches(tokens: Tokens, batch_size: int) -> Iterator[Tensor]:
    total = ceil(len(tokens.ids) / batch_size)
    return track(tokens.batches(batch_size), f"reading {tokens.source}", total)


def _outside_blocks(model: LanguageModel) -> list[Tensor]:
    inside = {id(tensor) for tensor in tensors(model.layers)}
    return [tensor for tensor in tensors(model.hf) if id(tensor) not in inside]
