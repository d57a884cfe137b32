"""AST: train a dense model into an N:M sparse one with an adaptive mask (Huang et al., 2025).

All weights stay trainable, but the model computes only with those that the mask keeps. Gradients
also reach the masked weights, which are pulled towards zero more and more strongly. A masked weight
that matters grows back and replaces another when the mask is updated. The dense model is the
teacher.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from implementations.harness import (
    Calibration,
    Capabilities,
    ColumnNorm,
    Count,
    LanguageModel,
    NonNegative,
    Plan,
    Positive,
    Ratio,
    Tokens,
    WeightMethod,
    cross_entropy_of,
    distillation_loss,
    logits_of,
    optimise,
    training_course,
    walk,
)

Masks = Mapping[Tensor, Tensor]
"""Boolean mask `[out, in]` of each linear weight in the blocks; true where it is masked."""


class AST(WeightMethod):
    """Train under an adaptive magnitude mask, with distillation and decay of masked weights.

    Defaults are those of the runs on LLaMA2-7B. Source: Huang et al., arXiv:2407.20584, without the
    low-rank branch.
    """

    capabilities = Capabilities(
        granularity=("unstructured", "semi-structured"),
        calibration="training",
        trains="weights",
        changes=("linears", "norms", "embedding", "head"),
    )
    tiny_settings: ClassVar[dict[str, Any]] = {"steps": 3, "batch": 2, "refresh": 1, "rate": 1e-3}

    steps: Count = 15_000
    """Number of training steps (T1)."""
    rate: Positive = 2e-5
    """Peak learning rate; it decays to a tenth along a cosine."""
    batch: Count = 128
    """Training windows per step."""
    at_once: Count = 1
    """Windows per forward pass; `batch` must be a multiple of it."""
    warmup: Ratio = 1 / 30
    """Share of the steps used for the learning rate warm-up."""
    weight_decay: NonNegative = 0.0
    """Ordinary AdamW weight decay of all matrices; the paper uses 0.1 for GPT-2."""
    decay: NonNegative = 6e-5
    """Final strength of the pull on masked weights towards zero (a T0)."""
    ramp: Ratio = 0.2
    """Share of the steps in which the pull rises (T0 / T1); 0 keeps it constant (static SR-STE)."""
    refresh: Count = 10
    """Steps between two updates of the mask."""
    alpha: Ratio = 1 / 3
    """Share of the distillation term in the loss; the paper uses 0.67 for the smallest GPT-2."""
    temperature: Positive = 2.0
    """Temperature of the distillation; logits are divided by it."""
    mask: Literal["adaptive", "fixed"] = "adaptive"
    """Update the mask from the weights, or keep the first one (for comparison)."""
    initial: Literal["magnitude", "wanda"] = "magnitude"
    """Source of the first mask; `wanda` gives the same mask as the method Wanda alone."""

    def check(self, model: LanguageModel, calibration: Tokens | None) -> None:
        """Also check that `at_once` divides the batch."""
        super().check(model, calibration)
        self.plan()

    def plan(self) -> Plan:
        """Return the training plan."""
        return Plan(
            self.steps,
            self.rate,
            batch=self.batch,
            at_once=self.at_once,
            warmup=self.warmup,
            end=0.1,
            weight_decay=self.weight_decay,
            betas=(0.9, 0.95),
        )

    def prune(self, model: LanguageModel, calibration: Calibration) -> dict[str, Any]:
        """Train under the mask, then set the masked weights to zero."""
        assert calibration.training is not None  # guaranteed by `check`
        stream, plan = calibration.training, self.plan()
        teacher = copy.deepcopy(model)
        masks = self.masks(model, calibration)
        first = [removed.clone() for removed in masks.values()]
        trained = [p for p in model.hf.requires_grad_(True).parameters() if p.numel()]
        groups: list[dict[str, Any]] = [
            {"params": [p for p in trained if p.ndim > 1]},
            {"params": [p for p in trained if p.ndim == 1], "weight_decay": 0.0},
        ]

        def after(step: int) -> None:
            if (step + 1) % self.refresh == 0:
                self.update_masks(masks)

        with masked_weights(model, masks):
            losses = optimise(
                groups,
                partial(self.loss, model, teacher),
                stream,
                plan,
                after=after,
                by=partial(AnnealedAdamW, masks=masks, pull=self.pull),
            )
        self.update_masks(masks)
        for weight, removed in masks.items():
            weight.masked_fill_(removed, 0)
        moved = sum(int((a != b).sum()) for a, b in zip(first, masks.values(), strict=True))
        return {
            "course": training_course(losses, stream, plan.batch),
            "mask_moved": moved / max(sum(removed.numel() for removed in first), 1),
        }

    def loss(self, model: LanguageModel, teacher: LanguageModel, ids: Tensor) -> Tensor:
        """Return `alpha KL(teacher || model) + (1 - alpha)` next-token loss, equation (4)."""
        with torch.no_grad():
            teacher_logits = logits_of(teacher, ids)  # [windows, length, vocabulary]
        student_logits = logits_of(model, ids)
        distilled = distillation_loss(student_logits, teacher_logits, self.temperature)
        return self.alpha * distilled + (1 - self.alpha) * cross_entropy_of(student_logits, ids)

    def masks(self, model: LanguageModel, calibration: Tokens) -> dict[Tensor, Tensor]:
        """Return the first mask of every linear layer's weight; the model stays dense."""
        if self.initial == "magnitude":
            return {linear.weight: self.smallest(linear.weight) for _, _, linear in model.linears()}
        masks = {}
        for block in walk(copy.deepcopy(model), calibration):
            seen = block.observe(ColumnNorm)
            for role, linear in block.linears().items():
                scores = linear.weight.abs().float() * seen[role].norms  # |W_ij| ||X_j||_2
                removed = self.choose(scores)
                linear.weight.masked_fill_(removed, 0)  # in the copy: later layers see it
                masks[model.blocks[block.index].linears()[role].weight] = removed
        return masks

    def smallest(self, weight: Tensor) -> Tensor:
        """Mark all but the largest `|W|` of each group of inputs, or of each row, `[out, in]`."""
        return self.choose(weight.detach().abs().float())

    def update_masks(self, masks: Masks) -> None:
        """Update the masks from the current weights, unless they are fixed."""
        if self.mask == "adaptive":
            for weight, removed in masks.items():
                removed.copy_(self.smallest(weight))

    def pull(self, step: int) -> float:
        """Return lambda at `step`, counted from 0: `a t` up to T0, then `a T0`, equation (3)."""
        rising = self.ramp * self.steps  # T0
        return self.decay * min(step / rising, 1.0) if rising else self.decay


class Masked(nn.Module):
    """A weight with masked entries at zero and a gradient for all entries, equation (1)."""

    def __init__(self, removed: Tensor) -> None:
        super().__init__()
        self.removed = removed

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight `[out, in]` that the layer computes with."""
        return weight - weight.detach() * self.removed  # w - w is 0, with the gradient of w


@contextmanager
def masked_weights(model: LanguageModel, masks: Masks) -> Iterator[None]:
    """Context manager in which every linear layer of the blocks computes under its mask.

    The parameters stay the same objects. On exit they are dense and back in their place.
    """
    with ExitStack() as changes:
        for _, _, linear in model.linears():
            removed = masks[linear.weight]
            parametrize.register_parametrization(linear, "weight", Masked(removed))
            changes.callback(
                parametrize.remove_parametrizations, linear, "weight", leave_parametrized=False
            )
        yield


class AnnealedAdamW(torch.optim.Optimizer):
    """AdamW that pulls masked weights towards zero outside the first moment, section 3.2.

    `pull` maps a step, counted from 0, to lambda. Parameters without a mask use ordinary AdamW.
    """

    def __init__(
        self, parameters: Any, masks: Masks, pull: Callable[[int], float], **settings: Any
    ) -> None:
        super().__init__(parameters, {"eps": 1e-8} | settings)
        self.masks, self.pull = masks, pull

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # takes no closure
        """Update all parameters that have a gradient."""
        for group in self.param_groups:
            (b1, b2), rate = group["betas"], group["lr"]
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state |= {"t": 0, "m": torch.zeros_like(weight), "v": torch.zeros_like(weight)}
                state["t"] += 1
                t, m, v, g = state["t"], state["m"], state["v"], weight.grad
                weight.mul_(1 - rate * group["weight_decay"])
                m.lerp_(g, 1 - b1)
                u, squared = m, g
                if weight in self.masks:
                    u = squared = m + self.pull(t - 1) * (weight * self.masks[weight])
                v.mul_(b2).addcmul_(squared, squared, value=1 - b2)
                spread = (v / (1 - b2**t)).sqrt_().add_(group["eps"])
                weight.addcdiv_(u, spread, value=-rate / (1 - b1**t))
