"""ELSA: train all weights on the model's own loss while ADMM makes them sparse (Lee et al., 2026).

Every weight `w` has a sparse copy `z` and a dual variable `u`. Training steps on the language
modelling loss are pulled towards `z`. At intervals, `z` becomes the projection of `w + u`, and `u`
adds up how far `w` and `z` are still apart. No weight is set to zero before the end of training, so
a weight whose copy is zero can still return.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from implementations.harness import (
    BadInput,
    Calibration,
    Capabilities,
    Count,
    LanguageModel,
    NonNegative,
    Pattern,
    Plan,
    Positive,
    Ratio,
    Tokens,
    WeightMethod,
    next_token_loss,
    optimise,
    training_course,
)

BETAS = (0.9, 0.95)  # of Adam


class ELSA(WeightMethod):
    """Train the whole model by ADMM until its linear layers are nearly sparse, then project them.

    Source: Lee et al., arXiv:2510.01650.
    """

    capabilities = Capabilities(
        granularity=("unstructured", "semi-structured"),
        calibration="training",
        trains="weights",
        changes=("linears", "norms", "embedding", "head"),
    )
    tiny_settings: ClassVar[dict[str, Any]] = {
        "steps": 4,
        "batch": 2,
        "interval": 2,
        "learning_rate": 1e-3,
    }

    sparsity: Ratio = 0.9
    """Share of the weights of each matrix to zero."""
    pattern: Pattern | None = None
    """Keep KEEP of every GROUP consecutive inputs of a row, as in `2:4`; replaces `sparsity`."""
    steps: Count = 4096
    """Number of training steps (T)."""
    batch: Count = 8
    """Training windows per step."""
    at_once: Count = 1
    """Windows per forward pass; `batch` must be a multiple of it."""
    learning_rate: Positive = 2e-4
    """Learning rate of the first step; it decays linearly to zero."""
    penalty: NonNegative = 0.01
    """Strength of the pull towards the sparse copies (lambda); if it rises, its limit."""
    rise: Literal["none", "linear", "cosine"] = "none"
    """Shape of the rise of the pull from zero over all steps; by default it is constant."""
    interval: Count = 32
    """Steps between two updates of the sparse copies and dual variables."""
    aware: bool = True
    """Rank by squared weights times means of their squared gradients, or else by magnitude."""

    def check(self, model: LanguageModel, calibration: Tokens | None) -> None:
        """Also check that `at_once` divides the batch, and that a rising pull rises in time."""
        super().check(model, calibration)
        self.plan()
        if self.rise != "none" and self.steps < self.interval + 2:
            raise BadInput(
                f"`steps` must be at least {self.interval + 2} if the pull rises, got "
                f"{self.steps}: it stays zero up to the first update; set `interval` lower, or use "
                "rise=none"
            )

    def plan(self) -> Plan:
        """Return the training plan."""
        return Plan(
            self.steps,
            self.learning_rate,
            batch=self.batch,
            at_once=self.at_once,
            decay="linear",
            betas=BETAS,
        )

    def prune(self, model: LanguageModel, calibration: Calibration) -> dict[str, Any]:
        """Train all parameters with ADMM on the linear layers, then project these."""
        assert calibration.training is not None  # guaranteed by `check`
        stream, plan = calibration.training, self.plan()
        trained = [p for p in model.hf.requires_grad_(True).parameters() if p.numel()]
        weights = [x.weight for _, _, x in model.linears() if x.weight.numel()]
        admm = ADMM(weights, self.removed, self.aware)
        dense_distance = distance(weights, admm.z)

        def after(step: int) -> None:
            if step % self.interval == 0:
                admm.update(self.strength(step), self.strength(step + 1))

        losses = optimise(
            trained,
            lambda ids: next_token_loss(model, ids),
            stream,
            plan,
            before=lambda step: admm.pull(self.strength(step)),
            after=after,
        )
        masks = [self.removed(w, v) for w, v in zip(weights, admm.v, strict=True)]
        projected = [w.masked_fill(mask, 0) for w, mask in zip(weights, masks, strict=True)]
        trained_distance = distance(weights, projected)
        for w, z in zip(weights, projected, strict=True):
            w.copy_(z)
        moved = sum(int((a != b).sum()) for a, b in zip(admm.first_masks, masks, strict=True))
        return {
            "course": training_course(losses, stream, plan.batch),
            "distance_of_the_dense_model": dense_distance,
            "distance_after_training": trained_distance,
            "mask_moved": moved / max(sum(mask.numel() for mask in masks), 1),
        }

    def removed(self, x: Tensor, v: Tensor | None = None) -> Tensor:
        """Mark the entries of `x [out, in]` that the projection sets to zero.

        These are the lowest `v x^2` of the matrix, where `v` are means of squared gradients after
        clipping, or the lowest `|x|` without them.
        """
        scores = x.float().abs() if v is None else v.float() * x.float().square()
        return self.choose(scores, within="matrix")

    def strength(self, step: int) -> float:
        """Return lambda in step `step`; it changes after the steps that update the copies."""
        if self.rise == "none":
            return self.penalty
        # The step after which the copies were last updated, before this one.
        updated = max(step - 1, 0) // self.interval * self.interval
        t = updated / self.steps
        return self.penalty * (t if self.rise == "linear" else (1 - math.cos(math.pi * t)) / 2)


class ADMM:
    """Sparse copies and scaled dual variables of weights `[out, in]`, in fp32.

    If `aware`, also the means of their squared gradients, as in Adam. They are passed to `removed`.
    """

    def __init__(
        self,
        weights: Sequence[Tensor],
        removed: Callable[[Tensor, Tensor | None], Tensor],
        aware: bool,
    ) -> None:
        self.weights, self.removed = weights, removed
        with torch.no_grad():
            self.first_masks = [removed(w, None) for w in weights]
            pairs = zip(weights, self.first_masks, strict=True)
            self.z = [w.float().masked_fill(mask, 0) for w, mask in pairs]
        self.u = [torch.zeros_like(z) for z in self.z]
        self.v = [torch.zeros_like(z) if aware else None for z in self.z]

    def pull(self, strength: float) -> None:
        """Add the gradient of `lambda / 2 ||w - z + u||^2` to the gradients."""
        for w, z, u, v in zip(self.weights, self.z, self.u, self.v, strict=True):
            assert w.grad is not None
            if v is not None:  # before the pull, which says nothing about the loss
                v.lerp_(w.grad.float().square(), 1 - BETAS[1])
            w.grad.add_(strength * (w - z + u))

    def update(self, strength: float, following: float) -> None:
        """Project `w + u` onto the sparse matrices, then update the dual variables.

        If lambda changes from `strength` to `following`, `lambda u` stays the same.
        """
        for w, z, u, v in zip(self.weights, self.z, self.u, self.v, strict=True):
            x = w + u
            z.copy_(x.masked_fill(self.removed(x, v), 0))  # z = Pi(w + u)
            u.copy_(x - z)  # u + w - z
            if following != strength:
                u.mul_(strength / following)


def distance(weights: Sequence[Tensor], copies: Sequence[Tensor]) -> float:
    """Return `||w - z|| / ||w||` over all weights."""
    pairs = zip(weights, copies, strict=True)
    apart = sum(float((w - z).float().square().sum()) for w, z in pairs)
    size = sum(float(w.float().square().sum()) for w in weights)
    return math.sqrt(apart / size) if size else 0.0
