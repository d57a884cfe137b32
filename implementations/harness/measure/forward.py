"""Logits of a model over token windows, also if only one block fits on the accelerator."""

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

PIECE = 2**22  # maximum number of logits in memory (16 MB in fp32); a batch exceeds a small model


class Logits(NamedTuple):
    """Logits `[windows, positions, vocabulary]` of some positions of some windows."""

    values: Tensor
    windows: slice
    positions: slice


def logits(model: LanguageModel, tokens: Tokens, batch_size: int | None = None) -> Iterator[Logits]:
    """Yield the logits of all `tokens`, micro-batch by micro-batch, each from left to right.

    Each piece is on the accelerator in the model's dtype and has at most `PIECE` logits, or one
    position. Drop it before requesting the next to keep only one in memory.

    Raises:
        BadInput: ids beyond the vocabulary, or a batch size below 1.
        NumericsError: the output of a block contains NaN or infinity.
    """
    check_vocabulary(tokens, model.vocabulary_size)
    size = tokens.batch_size if batch_size is None else batch_size
    if size < 1:
        raise BadInput(f"batch_size must be at least 1, got {size}")
    run = at_once if model.whole else block_by_block
    return run(model, tokens, size)


def at_once(model: LanguageModel, tokens: Tokens, batch_size: int) -> Iterator[Logits]:
    """Compute the logits on the device of the weights."""
    with preserved(model):
        model.hf.eval()
        for start, batch in _batches(tokens, batch_size):
            ids = batch.to(model.device)
            yield from _head(model, ids, _decoder(model, ids), start)


def block_by_block(model: LanguageModel, tokens: Tokens, batch_size: int) -> Iterator[Logits]:
    """Compute the logits with one decoder block at a time on the accelerator, moved once each.

    The activations of all `tokens` stay on the host between two blocks.
    """
    with preserved(model):
        model.hf.eval()
        boundary = Boundary(model, tokens, batch_size)
        for block in track(model.blocks, f"reading {tokens.source} block by block"):
            with model.opened(block), on_device_read_only(tensors(block.module), model.accelerator):
                for i, _, y in boundary.run(block):
                    boundary.advance(i, block, y)
        with on_device_read_only(model.outside().values(), model.accelerator):
            # Outputs of the last block, [batch, length, hidden] each.
            for (start, batch), host in zip(
                _batches(tokens, batch_size), boundary.hidden, strict=True
            ):
                ids, hidden = batch.to(model.accelerator), host.to(model.accelerator)
                with fixed_output(boundary.block_output(hidden), *model.layers):
                    output = _decoder(model, ids)
                yield from _head(model, ids, output, start)


def _decoder(model: LanguageModel, ids: Tensor) -> Any:
    """Run the model without its head on `ids [windows, length]`."""
    with torch.no_grad():
        return model.decoder(input_ids=ids, use_cache=False)


def _head(model: LanguageModel, ids: Tensor, output: Any, start: int) -> Iterator[Logits]:
    """Run the head on the decoder's output, a few positions at a time."""
    windows, length = ids.shape
    step = max(1, PIECE // (windows * model.vocabulary_size))
    for left in range(0, length, step):
        positions = slice(left, min(left + step, length))
        kept = torch.arange(positions.start, positions.stop, device=ids.device)
        with fixed_output(output, model.decoder), torch.no_grad():
            values = model.hf(input_ids=ids, use_cache=False, logits_to_keep=kept).logits
        piece = Logits(values, slice(start, start + windows), positions)
        del values
        yield piece
        del piece


def on_accelerator(model: LanguageModel) -> AbstractContextManager[None]:
    """Allow calls of `model.hf` with inputs on `model.accelerator` inside the `with` block.

    For callers that need the Hugging Face model itself, such as generation. If the weights are not
    on the accelerator, they are `streamed` to it.
    """
    return nullcontext() if model.accelerator == model.device else streamed(model)


@contextmanager
def streamed(model: LanguageModel) -> Iterator[None]:
    """Move each decoder block to the accelerator for the duration of each of its calls.

    Slow, because every call moves every block, but only one block at a time needs memory there. All
    other weights stay on the accelerator throughout.
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
    """Yield each micro-batch with the index of its first window."""
    total = ceil(len(tokens.ids) / batch_size)
    batches = track(tokens.batches(batch_size), f"reading {tokens.source}", total)
    return ((batch_size * number, ids) for number, ids in enumerate(batches))
