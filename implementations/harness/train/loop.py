"""The training loop.

losses = optimise(parameters, lambda ids: loss(model, ids), stream, plan)

On one machine with a fixed number of threads, equal seeds give equal parameters and losses bit for
bit.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from implementations.harness.data.tokens import Stream
from implementations.harness.errors import NumericsError
from implementations.harness.progress import task
from implementations.harness.results.protocol import POINTS, Course
from implementations.harness.train.schedule import Plan

SHOWN = 20  # steps over which the displayed loss is averaged

Groups = Iterable[nn.Parameter] | Sequence[dict[str, Any]]


def optimise(
    parameters: Groups,
    loss: Callable[[Tensor], Tensor],
    stream: Stream,
    plan: Plan,
    *,
    before: Callable[[int], None] | None = None,
    after: Callable[[int], None] | None = None,
    by: Callable[..., torch.optim.Optimizer] = torch.optim.AdamW,
) -> list[float]:
    """Train `parameters` with AdamW and return the loss of every step.

    `parameters` is as for `torch.optim.AdamW`; groups may have their own largest `lr` and their own
    `weight_decay`. `loss` takes ids `[windows, length]` and returns a mean loss. `before(step)` is
    called when the gradients of a step are complete and clipped. `after(step)` is called after the
    step, when they are cleared, for example to prune. Both run without autograd. `by` constructs
    another optimiser from parameters, `lr`, `betas` and `weight_decay`.

    Raises `NumericsError` for a loss that is not finite.
    """
    optimizer = by(list(parameters), lr=plan.rate, betas=plan.betas, weight_decay=plan.weight_decay)
    largest = [group["lr"] for group in optimizer.param_groups]
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    losses: list[float] = []
    optimizer.zero_grad()  # gradients from elsewhere must not affect the first step
    batches = stream.batches(plan.at_once, start=plan.before * plan.pieces)
    with torch.enable_grad(), task("training", plan.steps) as shown:
        for step in range(plan.steps):
            for group, rate in zip(optimizer.param_groups, largest, strict=True):
                group["lr"] = rate * plan.factor(step)
            total = 0.0
            for _ in range(plan.pieces):
                value = loss(next(batches)) / plan.pieces
                value.backward()
                total += float(value.detach())
            if not math.isfinite(total):
                raise NumericsError(
                    f"the loss of training step {step} is {total}; use a learning rate below "
                    f"{plan.rate:g}"
                )
            if plan.clip is not None:
                nn.utils.clip_grad_norm_(trained, plan.clip)
            if before is not None:
                with torch.no_grad():
                    before(step)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(total)
            if after is not None:
                with torch.no_grad():
                    after(step)
            recent = losses[-SHOWN:]
            shown.say(f"training, loss {sum(recent) / len(recent):.3f}")
            shown.advance()
    return losses


def training_course(losses: Sequence[float], stream: Stream, windows: int) -> Course:
    """Return the course of a training whose steps each read `windows` windows of `stream`."""
    read = len(losses) * windows
    return Course(
        steps=len(losses),
        read=read * stream.windows.ids.shape[1],
        epochs=round(stream.epochs(read), 6),
        losses=tuple(thinned(losses)),
    )


def thinned(losses: Sequence[float], points: int = POINTS) -> list[float]:
    """Return a curve of at most `points` points, each the mean of an equal part of `losses`."""
    if len(losses) <= points:
        return list(losses)
    edges = [round(i * len(losses) / points) for i in range(points + 1)]
    return [sum(losses[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]
