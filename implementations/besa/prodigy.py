"""Prodigy: Adam whose step size is an estimate of the distance to the solution."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

FIRST = 1e-6  # the first step size (d_0)
BETA1, BETA2 = 0.9, 0.999
BETA3 = BETA2**0.5
EPSILON = 1e-8


class Prodigy(torch.optim.Optimizer):
    """Adam without bias correction, with a step size that grows while the gradients agree.

    The step size is the largest lower bound so far on the distance from the start to the solution,
    times `factor`. Source: Mishchenko and Defazio, arXiv:2306.06101, Algorithm 4.
    """

    def __init__(self, parameters: Iterable[Tensor], factor: float = 1.0) -> None:
        super().__init__(parameters, {})
        self.factor, self.distance, self.numerator = factor, FIRST, 0.0

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Update the parameters that have gradients."""
        trained = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        d, denominator = self.distance, 0.0
        self.numerator *= BETA3  # r
        for p in trained:
            g, state = p.grad, self.state[p]
            if not state:
                zero = torch.zeros_like
                state.update(start=p.clone(), m=zero(p), v=zero(p), s=zero(p))
            self.numerator += d * d / FIRST * float((g * (state["start"] - p)).sum())
            state["m"].mul_(BETA1).add_(g, alpha=d * (1 - BETA1))
            state["v"].mul_(BETA2).addcmul_(g, g, value=d * d * (1 - BETA2))
            state["s"].mul_(BETA3).add_(g, alpha=d * d / FIRST)
            denominator += float(state["s"].abs().sum())  # ||s||_1
        if not denominator:
            return
        self.distance = max(d, self.factor * self.numerator / denominator)
        for p in trained:
            m, v = self.state[p]["m"], self.state[p]["v"]
            p.addcdiv_(m, v.sqrt().add_(self.distance * EPSILON), value=-d)
