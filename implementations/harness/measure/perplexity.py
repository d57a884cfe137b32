"""Perplexity over windows of a text, the exponential of the mean negative log-likelihood."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from implementations.harness.data.tokens import Tokens
from implementations.harness.errors import BadInput, NumericsError
from implementations.harness.measure.forward import logits
from implementations.harness.model.view import LanguageModel

CHUNK = 2**20  # logits converted to fp64 at a time: 8 MB, which fits into a processor's cache


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


def perplexity(model: LanguageModel, tokens: Tokens, batch_size: int | None = None) -> Perplexity:
    """Measure the perplexity of `model` on the windows `tokens`.

    A window of `length` tokens has `length - 1` predictions: all but its first token.

    Raises:
        BadInput: windows of one token, ids beyond the vocabulary, or a model pruned for a prompt.
        NumericsError: the logits contain NaN or infinity.
    """
    if model.prompt_method:
        raise BadInput(
            f"{model.prompt_method} prunes for a prompt, but whole windows have none; use "
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
    windows, length = tokens.ids.shape
    if length < 2:
        raise BadInput(f"perplexity needs windows of at least 2 tokens, got {length}")
    nats = torch.zeros((), dtype=torch.float64)
    for piece in logits(model, tokens, batch_size):
        start, stop = max(piece.positions.start, first), min(piece.positions.stop, length - 1)
        if start < stop:
            within = slice(start - piece.positions.start, stop - piece.positions.start)
            following = tokens.ids[piece.windows, start + 1 : stop + 1].to(piece.values.device)
            losses = token_losses(piece.values[:, within], following).cpu()
            _check_finite(losses, tokens.source, piece.windows.start, start)
            nats += losses.sum()
        del piece  # frees its memory before the next one is computed
    predictions = windows * (length - 1 - first)
    return Perplexity(
        value=_exponential(float(nats) / predictions),
        nats=float(nats),
        predictions=predictions,
        windows=windows,
        length=length,
    )


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


def _check_finite(losses: Tensor, source: str, first: int, start: int) -> None:
    """Raise `NumericsError` for NaN or infinite losses; logits of -inf elsewhere are allowed."""
    bad = ~losses.isfinite()
    if not bad.any():
        return
    window, position = bad.nonzero()[0].tolist()
    raise NumericsError(
        f"window {first + window} of {source}, position {start + position}: the logits contain NaN "
        "or infinity; load the model in a wider dtype (--dtype float32) or prune less"
    )


def _exponential(mean: float) -> float:
    try:
        return math.exp(mean)
    except OverflowError as error:
        raise NumericsError(
            f"the loss of {mean:g} nats per token gives a perplexity too large for fp64; prune less"
        ) from error
