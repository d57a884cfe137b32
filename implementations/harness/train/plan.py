"""How long and how fast to train: steps, batch, learning rate over time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from implementations.harness.errors import BadInput


@dataclass(frozen=True)
class Plan:
    """A training by AdamW; refuses with `BadInput` what cannot be."""

    steps: int
    """Steps of the optimiser."""
    rate: float
    """Largest learning rate."""
    batch: int = 4
    """Windows a step."""
    at_once: int = 1
    """Windows that pass through the model together; gradients of a step are added up."""
    warmup: float = 0.0
    """Share of the steps in which the rate rises, linearly."""
    decay: Literal["cosine", "linear", "none"] = "cosine"
    """How the rate falls afterwards."""
    falling: float = 1.0
    """Share of the steps, the last ones, in which it falls; at most what the warm-up leaves."""
    end: float = 0.0
    """Share of the largest rate that the last step comes near to."""
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    clip: float | None = 1.0
    """Largest norm of all gradients of a step together."""
    before: int = 0
    """Steps that earlier plans of one schedule took: the text and the rate go on from there."""
    total: int | None = None
    """Steps of the whole schedule; left out, it ends with this plan."""

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1 or self.at_once < 1:
            raise BadInput(
                f"{self.steps} steps of {self.batch} windows, {self.at_once} at once: "
                "each must be at least 1"
            )
        if self.batch % self.at_once:
            raise BadInput(
                f"{self.at_once} windows at once do not divide a batch of {self.batch}; "
                "choose a number that does"
            )
        if not (self.rate > 0 and math.isfinite(self.rate)):
            raise BadInput(f"a learning rate of {self.rate:g} trains nothing: it must be above 0")
        if not all(0 <= share <= 1 for share in (self.warmup, self.falling, self.end)):
            raise BadInput(
                f"warmup {self.warmup:g}, falling {self.falling:g} and end {self.end:g} are "
                "shares, from 0 to 1"
            )
        if self.before < 0 or self.before + self.steps > self.all_steps:
            raise BadInput(
                f"{self.steps} steps after {self.before} do not fit a schedule of "
                f"{self.all_steps}; give one that is long enough"
            )

    @property
    def pieces(self) -> int:
        """Passes through the model a step."""
        return self.batch // self.at_once

    @property
    def all_steps(self) -> int:
        """Steps of the whole schedule."""
        return self.before + self.steps if self.total is None else self.total

    def factor(self, step: int) -> float:
        """Return what the largest rate is multiplied by in step `step` of this plan, from 0 on.

        The first step of a warm-up is not 0, and the last step of a decay not quite its end: both
        would be steps that change nothing.
        """
        place, steps = self.before + step, self.all_steps
        rising = math.ceil(self.warmup * steps)
        if place < rising:
            return (place + 1) / rising
        top = max(rising, steps - math.ceil(self.falling * steps))  # the rate falls from here
        done = max(place - top, 0) / max(steps - top, 1)  # from 0, below 1
        left = {"cosine": (1 + math.cos(math.pi * done)) / 2, "linear": 1 - done, "none": 1.0}
        return self.end + (1 - self.end) * left[self.decay]
