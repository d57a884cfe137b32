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
    `BadInput` for windows of one token and ids beyond the vocabulary, `NumericsError` for logits
    with NaN or infinity.
    """
    length = tokens.ids.shape[1]
    if length < 2:
        raise BadInput("perplexity needs windows of at least 2 tokens, one to see, one to predict")
    nats = torch.zeros((), dtype=torch.float64)
    done = 0
    for batch in logits(model, tokens, batch_size):  # [batch, length, vocabulary]
        ids = tokens.ids[done : done + len(batch)]
        losses = token_losses(batch, ids.to(batch.device)).cpu()
        del batch  # before the next one is computed: it can be gigabytes
        _check_finite(losses, tokens.source, done)
        nats += losses.sum()
        done += len(ids)
    predictions = done * (length - 1)
    return Perplexity(
        value=_exponential(float(nats) / predictions),
        nats=float(nats),
        predictions=predictions,
        windows=done,
        length=length,
    )


def token_losses(logits: Tensor, ids: Tensor) -> Tensor:
    """Return `-log p` of each next token, `[batch, length - 1]`, in nats and fp64.

    `logits` is `[batch, length, vocabulary]` in any dtype, `ids` is `[batch, length]`.
    """
    rows = max(1, CHUNK // logits.shape[-1])
    losses = [
        cross_entropy(chunk.double(), following, reduction="none")
        for window, targets in zip(logits, ids[:, 1:], strict=True)
        for chunk, following in zip(window[:-1].split(rows), targets.split(rows), strict=True)
    ]
    return torch.cat(losses).view(len(ids), -1)


def _check_finite(losses: Tensor, source: str, done: int) -> None:
    """Refuse NaN and infinity; -inf is a lawful logit of a token that does not follow."""
    bad = ~losses.isfinite()
    if not bad.any():
        return
    window, position = bad.nonzero()[0].tolist()
    raise NumericsError(
        f"window {done + window} of {source}, position {position}: the logits contain NaN or "
        "infinity; load the model in a wider dtype (--dtype float32) or prune less"
    )


def _exponential(mean: float) -> float:
    try:
        return math.exp(mean)
    except OverflowError as error:
        raise NumericsError(
            f"{mean:g} nats a token: the perplexity is beyond the largest number; prune less"
        ) from error
