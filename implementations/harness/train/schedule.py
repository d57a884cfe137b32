"""Training schedules: steps, batch size, and learning rate over time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from implementations.harness.errors import BadInput


@dataclass(frozen=True)
class Plan:
    """A training schedule for AdamW; raises `BadInput` for invalid values."""

    steps: int
    """Number of optimiser steps."""
    rate: float
    """Largest learning rate."""
    batch: int = 4
    """Windows per step."""
    at_once: int = 1
    """Windows per forward pass; the gradients of a step are accumulated."""
    warmup: float = 0.0
    """Fraction of the steps in which the learning rate rises linearly."""
    decay: Literal["cosine", "linear", "none"] = "cosine"
    """Shape of the decay of the learning rate."""
    decay_share: float = 1.0
    """Fraction of the steps, at the end, in which the learning rate decays."""
    end: float = 0.0
    """Fraction of the largest learning rate that the decay approaches."""
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    clip: float | None = 1.0
    """Largest norm of the gradients of a step, over all parameters."""
    before: int = 0
    """Steps of earlier plans in the same schedule; text and learning rate continue from there."""
    total: int | None = None
    """Steps of the whole schedule; by default it ends with this plan."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "at_once"):
            if getattr(self, name) < 1:
                raise BadInput(f"`{name}` must be at least 1, got {getattr(self, name)}")
        if self.batch % self.at_once:
            raise BadInput(
                f"`batch` must be a multiple of `at_once`, got {self.batch} and {self.at_once}"
            )
        if not (self.rate > 0 and math.isfinite(self.rate)):
            raise BadInput(f"`rate` must be a positive learning rate, got {self.rate:g}")
        for name in ("warmup", "decay_share", "end"):
            if not 0 <= getattr(self, name) <= 1:
                raise BadInput(f"`{name}` must be between 0 and 1, got {getattr(self, name):g}")
        if self.before < 0 or self.before + self.steps > self.all_steps:
            raise BadInput(
                f"`total` must be at least `before` + `steps`, got {self.all_steps} for "
                f"{self.before} + {self.steps}, and `before` must not be negative"
            )

    @property
    def pieces(self) -> int:
        """Forward passes per step."""
        return self.batch // self.at_once

    @property
    def all_steps(self) -> int:
        """Steps of the whole schedule."""
        return self.before + self.steps if self.total is None else self.total

    def factor(self, step: int) -> float:
        """Return the factor of the largest learning rate in step `step` of this plan, from 0.

        The warm-up starts above 0 and the decay stops before `end`, because a step with learning
        rate 0 would change nothing.
        """
        position, steps = self.before + step, self.all_steps
        rising = math.ceil(self.warmup * steps)
        if position < rising:
            return (position + 1) / rising
        decay_start = max(rising, steps - math.ceil(self.decay_share * steps))
        done = max(position - decay_start, 0) / max(steps - decay_start, 1)  # in [0, 1)
        factor = {"cosine": (1 + math.cos(math.pi * done)) / 2, "linear": 1 - done, "none": 1.0}
        return self.end + (1 - self.end) * factor[self.decay]
