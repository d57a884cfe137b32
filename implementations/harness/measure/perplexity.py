"""Logits and perplexity of a model over token windows, also if only one block fits on the device.

A perplexity is the exponential of the mean negative log-likelihood.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import chain
from math import ceil
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from implementations.harness.data.tokens import Tokens, check_vocabulary
from implementations.harness.errors import BadInput, NumericsError
from implementations.harness.model.execution import (
    Boundary,
    check_output,
    fixed_output,
    on_device_read_only,
    way_out,
)
from implementations.harness.model.view import LanguageModel, preserved
from implementations.harness.progress import track

CHUNK = 2**20  # logits converted to fp64 at a time: 8 MB, which fits into a processor's cache
PIECE = 2**24  # maximum number of logits in memory: 64 MB in fp32; less makes the head slower


@dataclass(frozen=True)
class Perplexity:
    """A perplexity with the numbers it was computed from."""

    value: float
    nats: float
    """Negative log-likelihood, summed over all predictions in fp64."""
    predictions: int
    windows: int
    length: int
    """Tokens per window."""

    @property
    def loss(self) -> float:
        """Mean negative log-likelihood per prediction, in nats."""
        return self.nats / self.predictions


def perplexity(model: LanguageModel, tokens: Tokens, batch_size: int | None = None) -> Perplexity:
    """Measure the perplexity of `model` on the windows `tokens`.

    A window of `length` tokens has `length - 1` predictions: all but its first token.

    Raises:
        BadInput: windows of one token, ids beyond the vocabulary, or a method that acts after a
            prompt.
        NumericsError: the logits contain NaN or infinity.
    """
    if model.active_prompt:
        raise BadInput(
            f"{model.active_method} acts after a prompt, but whole windows have none; use "
            "split_perplexity(model, tokens, prompt)"
        )
    return _measured(model, tokens, batch_size, 0)


def split_perplexity(
    model: LanguageModel, tokens: Tokens, prompt: int, batch_size: int | None = None
) -> Perplexity:
    """Measure the perplexity of the text after the first `prompt` tokens of each window.

    Only predictions made at positions after the prompt count, so that a window has `length - 1 -
    prompt` of them. Raises as `perplexity`, and `BadInput` for a prompt that leaves none.
    """
    length = tokens.ids.shape[1]
    if not 1 <= prompt < length - 1:
        raise BadInput(
            f"prompt must be between 1 and {length - 2} tokens for windows of {length}, got "
            f"{prompt}"
        )
    return _measured(model, tokens, batch_size, prompt)


def _measured(
    model: LanguageModel, tokens: Tokens, batch_size: int | None, first: int
) -> Perplexity:
    """Measure the predictions made at positions from `first` on."""
    nats = torch.zeros((), dtype=torch.float64)
    for piece in predictions(model, tokens, batch_size, first):
        losses = token_losses(piece.logits.values, piece.following).cpu()
        check_finite(losses, tokens.source, piece.logits)
        nats += losses.sum()
        del piece  # frees its memory before the next one is computed
    return total(float(nats), tokens, first)


class Prediction(NamedTuple):
    """Logits and the tokens that they predict, ids `[windows, positions]`."""

    logits: Logits
    following: Tensor


def predictions(
    model: LanguageModel, tokens: Tokens, batch_size: int | None, first: int
) -> Iterator[Prediction]:
    """Yield the predictions at positions from `first` on; the last position predicts nothing."""
    length = tokens.ids.shape[1]
    if length < 2:
        raise BadInput(f"perplexity needs windows of at least 2 tokens, got {length}")
    for values, windows, positions in logits(model, tokens, batch_size):
        start, stop = max(positions.start, first), min(positions.stop, length - 1)
        if start < stop:
            within = slice(start - positions.start, stop - positions.start)
            following = tokens.ids[windows, start + 1 : stop + 1].to(values.device)
            piece = Logits(values[:, within], windows, slice(start, stop))
            del values
            yield Prediction(piece, following)
            del piece
        else:
            del values


def total(nats: float, tokens: Tokens, first: int) -> Perplexity:
    """Return the perplexity for the summed loss of the predictions from `first` on."""
    windows, length = tokens.ids.shape
    number = windows * (length - 1 - first)
    return Perplexity(_exponential(nats / number), nats, number, windows, length)


def token_losses(logits: Tensor, following: Tensor) -> Tensor:
    """Return `-log p` of each next token, `[windows, positions]`, in nats and fp64.

    `logits` is `[windows, positions, vocabulary]` in any dtype, `following` the ids of the next
    tokens, `[windows, positions]`.
    """
    rows = max(1, CHUNK // logits.shape[-1])
    losses = [
        cross_entropy(chunk.double(), targets, reduction="none")
        for chunk, targets in zip(
            logits.flatten(0, 1).split(rows), following.flatten().split(rows), strict=True
        )
    ]
    return torch.cat(losses).view(following.shape)


def check_finite(losses: Tensor, source: str, where: Logits) -> None:
    """Raise `NumericsError` for NaN or infinite losses; logits of -inf elsewhere are allowed."""
    bad = ~losses.isfinite()
    if not bad.any():
        return
    window, position = bad.nonzero()[0].tolist()
    raise NumericsError(
        f"window {where.windows.start + window} of {source}, position "
        f"{where.positions.start + position}: the logits contain NaN or infinity, but the output "
        "of no block does, so they begin in the final norm or the head; "
        + way_out(where.values.dtype)
    )


def _exponential(mean: float) -> float:
    try:
        return math.exp(mean)
    except OverflowError as error:
        raise NumericsError(
            f"the loss of {mean:g} nats per token gives a perplexity too large for fp64; prune less"
        ) from error


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
        NumericsError: the output of a block is not finite, or too large for a norm.
    """
    decoded = outputs(model, tokens, batch_size)
    return chain.from_iterable(pieces(model, *output) for output in decoded)


def outputs(
    model: LanguageModel, tokens: Tokens, batch_size: int | None = None
) -> Iterator[Output]:
    """Yield the final hidden states of all `tokens`, micro-batch by micro-batch.

    Raises as `logits`.
    """
    check_vocabulary(tokens, model.vocabulary_size)
    size = tokens.batch_size if batch_size is None else batch_size
    if size < 1:
        raise BadInput(f"batch_size must be at least 1, got {size}")
    run = at_once if model.whole else block_by_block
    return run(model, tokens, size)


class Output(NamedTuple):
    """Output of the decoder for the windows from `start` on, with their ids."""

    ids: Tensor
    decoder: Any
    """Has `last_hidden_state [windows, length, hidden]`, the input of the head."""
    start: int


def at_once(model: LanguageModel, tokens: Tokens, batch_size: int) -> Iterator[Output]:
    """Run the decoder on the device of the weights."""
    with preserved(model), ExitStack() as hooks:
        model.hf.eval()
        for index, layer in enumerate(model.layers):
            check = partial(_check_block, index)
            hooks.callback(layer.register_forward_hook(check).remove)
        for start, batch in _batches(tokens, batch_size):
            ids = batch.to(model.device)
            yield Output(ids, _decoder(model, ids), start)


def _check_block(index: int, _: nn.Module, __: Any, output: Tensor) -> None:
    check_output(output, index)


def block_by_block(model: LanguageModel, tokens: Tokens, batch_size: int) -> Iterator[Output]:
    """Run the decoder with one block at a time on the accelerator, moved once each.

    The activations of all `tokens` stay on the host between two blocks.
    """
    with preserved(model):
        model.hf.eval()
        boundary = Boundary(model, tokens.batches(batch_size))
        for block in track(model.blocks, f"reading {tokens.source} block by block"):
            boundary.pass_through(model, block)
        with on_device_read_only(model.hf, model.accelerator, without=model.layers):
            # Outputs of the last block, [batch, length, hidden] each.
            for (start, batch), host in zip(
                _batches(tokens, batch_size), boundary.hidden, strict=True
            ):
                ids, hidden = batch.to(model.accelerator), host.to(model.accelerator)
                with fixed_output(hidden, *model.layers):
                    output = _decoder(model, ids)
                yield Output(ids, output, start)


def _decoder(model: LanguageModel, ids: Tensor) -> Any:
    """Run the model without its head on `ids [windows, length]`."""
    with torch.no_grad():
        return model.decoder(input_ids=ids, use_cache=False)


def pieces(model: LanguageModel, ids: Tensor, output: Any, start: int) -> Iterator[Logits]:
    """Run the head on the decoder's output, a few positions at a time."""
    windows, length = ids.shape
    step = max(1, PIECE // (windows * model.vocabulary_size))
    for left in range(0, length, step):
        positions = slice(left, min(left + step, length))
        values = head(model, ids, output, positions)
        piece = Logits(values, slice(start, start + windows), positions)
        del values
        yield piece
        del piece


def head(model: LanguageModel, ids: Tensor, output: Any, positions: slice) -> Tensor:
    """Return the logits `[windows, positions, vocabulary]` for the decoder's output."""
    kept = torch.arange(positions.start, positions.stop, device=ids.device)
    with fixed_output(output, model.decoder), torch.no_grad():
        logits: Tensor = model.hf(input_ids=ids, use_cache=False, logits_to_keep=kept).logits
    return logits


def _batches(tokens: Tokens, batch_size: int) -> Iterator[tuple[int, Tensor]]:
    """Yield each micro-batch with the index of its first window."""
    total = ceil(len(tokens.ids) / batch_size)
    batches = track(tokens.batches(batch_size), f"reading {tokens.source}", total)
    return ((batch_size * number, ids) for number, ids in enumerate(batches))
