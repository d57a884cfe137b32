"""A model's logits over token samples, also where only one block at a time fits the accelerator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from math import ceil
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from implementations.harness.data.activations import Boundary, fixed_output, replaced_forward
from implementations.harness.data.tokens import Tokens, check_vocabulary
from implementations.harness.errors import BadInput
from implementations.harness.model.devices import on_device_read_only, tensors
from implementations.harness.model.view import LanguageModel, preserved
from implementations.harness.progress import track

PIECE = 2**22  # logits at a time, 16 MB in fp32: those of a whole batch outweigh a small model


class Logits(NamedTuple):
    """The logits `[windows, positions, vocabulary]` of a stretch of some windows."""

    values: Tensor
    windows: slice
    positions: slice


def logits(model: LanguageModel, tokens: Tokens, batch_size: int | None = None) -> Iterator[Logits]:
    """Yield the logits of all `tokens`, micro-batch by micro-batch and in each from left to right.

    They are on the accelerator and in the model's dtype, at most `PIECE` at a time or those of one
    position: whoever drops one piece before asking for the next never holds two. Raises `BadInput`
    for ids beyond the vocabulary and for a batch size below 1, `NumericsError` where a block puts
    out NaN or infinity.
    """
    check_vocabulary(tokens, model.vocabulary_size)
    size = tokens.batch_size if batch_size is None else batch_size
    if size < 1:
        raise BadInput(f"batch size {size}: it must be at least 1")
    run = at_once if model.whole else block_by_block
    return run(model, tokens, size)


def at_once(model: LanguageModel, tokens: Tokens, batch_size: int) -> Iterator[Logits]:
    """Run `logits` where the whole model lives."""
    with preserved(model):
        model.hf.eval()
        for start, batch in _batches(tokens, batch_size):
            ids = batch.to(model.device)
            yield from _head(model, ids, _decoder(model, ids), start)


def block_by_block(model: LanguageModel, tokens: Tokens, batch_size: int) -> Iterator[Logits]:
    """Run `logits` with one decoder block at a time on the accelerator, each moved there once.

    Between two blocks the activations of all `tokens` wait on the host.
    """
    with preserved(model):
        model.hf.eval()
        boundary = Boundary(model, tokens, batch_size)
        for block in track(model.blocks, f"reading {tokens.source} block by block"):
            with model.opened(block), on_device_read_only(tensors(block.module), model.accelerator):
                for i, _, y in boundary.run(block):
                    boundary.advance(i, block, y)
        with on_device_read_only(model.outside().values(), model.accelerator):
            # Of the last block, [batch, length, hidden] each.
            for (start, batch), host in zip(
                _batches(tokens, batch_size), boundary.hidden, strict=True
            ):
                ids, hidden = batch.to(model.accelerator), host.to(model.accelerator)
                with fixed_output(boundary.block_output(hidden), *model.layers):
                    output = _decoder(model, ids)
                yield from _head(model, ids, output, start)


def _decoder(model: LanguageModel, ids: Tensor) -> Any:
    """Run all of the model but its head, on `ids [windows, length]`."""
    with torch.no_grad():
        return model.decoder(input_ids=ids, use_cache=False)


def _head(model: LanguageModel, ids: Tensor, output: Any, start: int) -> Iterator[Logits]:
    """Run the head on the decoder's output, one stretch of positions at a time."""
    windows, length = ids.shape
    step = max(1, PIECE // (windows * model.vocabulary_size))
    for left in range(0, length, step):
        stretch = slice(left, min(left + step, length))
        kept = torch.arange(stretch.start, stretch.stop, device=ids.device)
        with fixed_output(output, model.decoder), torch.no_grad():
            values = model.hf(input_ids=ids, use_cache=False, logits_to_keep=kept).logits
        piece = Logits(values, slice(start, start + windows), stretch)
        del values
        yield piece
        del piece


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
        stack.enter_context(on_device_read_only(model.outside().values(), model.accelerator))
        for module in model.layers:
            call = partial(_call_on_device, module, module.forward, model.accelerator)
            stack.enter_context(replaced_forward(module, call))
        yield


def _call_on_device(
    module: nn.Module, forward: Callable[..., Any], device: torch.device, *args: Any, **kwargs: Any
) -> Any:
    with on_device_read_only(tensors(module), device):
        return forward(*args, **kwargs)


def _batches(tokens: Tokens, batch_size: int) -> Iterator[tuple[int, Tensor]]:
    """Yield each micro-batch with the number of its first window."""
    total = ceil(len(tokens.ids) / batch_size)
    batches = track(tokens.batches(batch_size), f"reading {tokens.source}", total)
    return ((batch_size * number, ids) for number, ids in enumerate(batches))
