"""Perplexity over windows of a text: the exponential of the mean negative log-likelihood."""

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

CHUNK = 2**20  # logits widened to fp64 at a time: 8 MB, which stays in a processor's cache


@dataclass(frozen=True)
class Perplexity:
    """A perplexity and what it was computed from."""

    value: float
    nats: float
    """Negative log-likelihood, summed over all predictions in fp64."""
    predictions: int
    windows: int
    length: int
    """Tokens a window."""


def perplexity(model: LanguageModel, tokens: Tokens, batch_size: int | None = None) -> Perplexity:
    """Measure the perplexity of `model` on the windows `tokens`.

    A window of `length` tokens has `length - 1` predictions; its first token is only seen. Raises
    `BadInput` for windows of one token, ids beyond the vocabulary and a model that follows a
    prompt, `NumericsError` for logits with NaN or infinity.
    """
    if model.prompt_method:
        raise BadInput(
            f"{model.prompt_method} chooses by a prompt, and a window as a whole has none: measure "
            "what "
            "follows one by split_perplexity(model, tokens, prompt)"
        )
    return _measured(model, tokens, batch_size, 0)


def split_perplexity(
    model: LanguageModel, tokens: Tokens, prompt: int, batch_size: int | None = None
) -> Perplexity:
    """Measure the perplexity of what follows the first `prompt` tokens of each window.

    The last token of the prompt predicts nothing that counts, so that every prediction is made at
    a position behind it: `length - 1 - prompt` a window. Raises as `perplexity`, and `BadInput`
    for a prompt that leaves nothing to predict.
    """
    length = tokens.ids.shape[1]
    if not 1 <= prompt < length - 1:
        raise BadInput(
            f"a prompt of {prompt} tokens does not split windows of {length}: give 1 to "
            f"{length - 2}, so that there is a token behind it to see and one to predict"
        )
    return _measured(model, tokens, batch_size, prompt)


def _measured(
    model: LanguageModel, tokens: Tokens, batch_size: int | None, first: int
) -> Perplexity:
    """Measure what positions from `first` on predict."""
    windows, length = tokens.ids.shape
    if length < 2:
        raise BadInput("perplexity needs windows of at least 2 tokens, one to see, one to predict")
    nats = torch.zeros((), dtype=torch.float64)
    for piece in logits(model, tokens, batch_size):
        start, stop = max(piece.positions.start, first), min(piece.positions.stop, length - 1)
        if start < stop:
            within = slice(start - piece.positions.start, stop - piece.positions.start)
            following = tokens.ids[piece.windows, start + 1 : stop + 1].to(piece.values.device)
            losses = token_losses(piece.values[:, within], following).cpu()
            _check_finite(losses, tokens.source, piece.windows.start, start)
            nats += losses.sum()
        del piece  # before the next one is computed
    predictions = windows * (length - 1 - first)
    return Perplexity(
        value=_exponential(float(nats) / predictions),
        nats=float(nats),
        predictions=predictions,
        windows=windows,
        length=length,
    )


def token_losses(logits: Tensor, following: Tensor) -> Tensor:
    """Return `-log p` of each token that follows, `[windows, positions]`, in nats and fp64.

    `logits` is `[windows, positions, vocabulary]` in any dtype, `following` the ids that come next,
    `[windows, positions]`.
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
    """Refuse NaN and infinity; -inf is a lawful logit of a token that does not follow."""
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
            f"{mean:g} nats a token: the perplexity is beyond the largest number; prune less"
        ) from error
