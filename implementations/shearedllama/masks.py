"""Hard-concrete gates, and the Lagrangian that closes a given share of them.

A gate is a random number in [0, 1], with a positive probability of being exactly 0 or exactly 1. It
has one parameter, the logit `a`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

TEMPERATURE = 2 / 3  # tau
LOW, HIGH = -0.1, 1.1  # the interval to which the concrete distribution is stretched
EPSILON = 1e-6
LIMIT = math.log(100)  # logits stay between -LIMIT and LIMIT
SHARPNESS = 0.8  # of gates that are no longer drawn


def drawn(logits: Tensor) -> Tensor:
    """Draw one gate per logit, in [0, 1]; gradients reach the logits."""
    u = torch.rand_like(logits) * (1 - 2 * EPSILON) + EPSILON
    noise = u.log() - (1 - u).log()
    return ((HIGH - LOW) * torch.sigmoid((noise + logits) / TEMPERATURE) + LOW).clamp(0, 1)


def openness(logits: Tensor) -> Tensor:
    """Return the probability that a gate is not 0."""
    shift = TEMPERATURE * math.log(-LOW / HIGH)
    return torch.sigmoid(logits - shift).clamp(EPSILON, 1 - EPSILON)


def settled(logits: Tensor, kept: Tensor | int) -> Tensor:
    """Return gates that are no longer drawn: 0, except for the `kept` highest of each row.

    `kept` is one number or one per row of `logits [..., gates]`.
    """
    ranks = logits.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
    counts = torch.as_tensor(kept, device=logits.device).unsqueeze(-1)
    return torch.sigmoid(SHARPNESS * logits / TEMPERATURE) * (ranks < counts)


def expected(logits: Tensor) -> Tensor:
    """Return gates that are no longer drawn, as many of each row open as are expected to be."""
    return settled(logits, openness(logits).sum(dim=-1).round())


def penalty(logits: Tensor, target: float, multipliers: Tensor) -> Tensor:
    """Return the Lagrangian term of one kind of gates, the mean over its rows `[..., gates]`.

    `target` is the share to close, and `multipliers [2]` are `lambda_1` and `lambda_2`.
    """
    missed = (1 - openness(logits).mean(dim=-1)) - target  # s - t, one per row
    return (multipliers[0] * missed + multipliers[1] * missed.square()).mean()
