"""AST: train the dense model into an N:M one, under a mask that follows it (Huang et al., 2025).

All weights stay parameters, and the model computes with those under the mask. Gradients reach the
others too, which are pulled towards zero more and more: one that matters grows back and takes the
place of another when the mask is taken anew. The dense model teaches.
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
    course,
    cross_entropy_of,
    distillation_loss,
    logits_of,
    optimise,
    walk,
)

Masks = Mapping[Tensor, Tensor]
"""Of every weight `[out, in]` of the blocks' linear layers what is masked, boolean."""


class AST(WeightMethod):
    """Train all weights under the mask of the largest, with a pull on the masked and a teacher.

    Defaults are those of the runs on LLaMA2-7B. Source: Huang et al., arXiv:2407.20584, without the
    low-rank branch.
    """

    capabilities = Capabilities(
        granularity=("unstructured", "semi-structured"),
        calibration="training",
        trains="weights",
        changes=("linears", "norms", "embedding", "head"),
    )
    small: ClassVar[dict[str, Any]] = {"steps": 3, "batch": 2, "refresh": 1, "rate": 1e-3}

    steps: Count = 15_000
    """Training steps, T1."""
    rate: Positive = 2e-5
    """Largest learning rate; it falls to a tenth by a cosine."""
    batch: Count = 128
    """Windows of the training text a step."""
    at_once: Count = 1
    """Windows that pass through the model together."""
    warmup: Ratio = 1 / 30
    """Share of the steps in which the rate rises."""
    weight_decay: NonNegative = 0.0
    """AdamW's own decay, of all matrices; 0.1 for GPT-2."""
    decay: NonNegative = 6e-5
    """Pull on masked weights towards zero, once it has risen: a T0."""
    ramp: Ratio = 0.2
    """Share of the steps in which the pull rises, T0 / T1; with 0 it does not (static SR-STE)."""
    refresh: Count = 10
    """Steps between two masks."""
    alpha: Ratio = 1 / 3
    """Share of the distillation in the loss; 0.67 for the smallest GPT-2."""
    temperature: Positive = 2.0
    """What the logits are divided by in distillation."""
    mask: Literal["adaptive", "fixed"] = "adaptive"
    """Whether the mask is taken anew from the weights, or stays the first one, to compare with."""
    initial: Literal["magnitude", "wanda"] = "magnitude"
    """What the first mask is taken from; Wanda prunes block by block, as by itself."""

    def check(self, model: LanguageModel, calibration: Tokens | None) -> None:
        """Refuse also a batch that its parts do not divide."""
        super().check(model, calibration)
        self.plan()

    def plan(self) -> Plan:
        """Return how it is trained."""
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
        """Train under the mask, then zero what is masked in the end."""
        assert calibration.training is not None  # its check saw to it
        stream, plan = calibration.training, self.plan()
        teacher = copy.deepcopy(model)
        masks = self.masks(model, calibration)
        first = [gone.clone() for gone in masks.values()]
        trained = [p for p in model.hf.requires_grad_(True).parameters() if p.numel()]
        groups: list[dict[str, Any]] = [
            {"params": [p for p in trained if p.ndim > 1]},
            {"params": [p for p in trained if p.ndim == 1], "weight_decay": 0.0},
        ]

        def after(step: int) -> None:
            if (step + 1) % self.refresh == 0:
                self.follow(masks)

        with under(model, masks):
            losses = optimise(
                groups,
                partial(self.loss, model, teacher),
                stream,
                plan,
                after=after,
                state={str(number): gone for number, gone in enumerate(masks.values())},
                by=partial(AnnealedAdamW, masks=masks, pull=self.pull),
            )
        self.follow(masks)
        for weight, gone in masks.items():
            weight.masked_fill_(gone, 0)
        moved = sum(int((a != b).sum()) for a, b in zip(first, masks.values(), strict=True))
        return {
            "course": course(losses, stream, plan.batch),
            "mask_moved": moved / max(sum(gone.numel() for gone in first), 1),
        }

    def loss(self, model: LanguageModel, teacher: LanguageModel, ids: Tensor) -> Tensor:
        """Return `alpha KL(teacher || model) + (1 - alpha)` next-token loss, equation (4)."""
        with torch.no_grad():
            meant = logits_of(teacher, ids)  # [windows, length, words]
        said = logits_of(model, ids)
        distilled = distillation_loss(said, meant, self.temperature)
        return self.alpha * distilled + (1 - self.alpha) * cross_entropy_of(said, ids)

    def masks(self, model: LanguageModel, calibration: Tokens) -> dict[Tensor, Tensor]:
        """Take the first masks, of every linear layer's weight; the model stays dense."""
        if self.initial == "magnitude":
            return {linear.weight: self.smallest(linear.weight) for _, _, linear in model.linears()}
        masks = {}
        for block in walk(copy.deepcopy(model), calibration):
            seen = block.observe(ColumnNorm)
            for role, linear in block.linears().items():
                scores = linear.weight.abs().float() * seen[role].norms  # |W_ij| ||X_j||_2
                gone = self.choose(scores)
                linear.weight.masked_fill_(gone, 0)  # of the copy: what follows sees it pruned
                masks[model.blocks[block.index].linears()[role].weight] = gone
        return masks

    def smallest(self, weight: Tensor) -> Tensor:
        """Mark all but the largest `|W|` of a group of inputs, or of a row, `[out, in]`."""
        return self.choose(weight.detach().abs().float())

    def follow(self, masks: Masks) -> None:
        """Take the masks anew from the weights as they are, where they are not fixed."""
        if self.mask == "adaptive":
            for weight, gone in masks.items():
                gone.copy_(self.smallest(weight))

    def pull(self, step: int) -> float:
        """Return lambda in step `step`, from 0 on: `a t` up to T0, then `a T0`, equation (3)."""
        rising = self.ramp * self.steps  # T0
        return self.decay * min(step / rising, 1.0) if rising else self.decay


class Masked(nn.Module):
    """A weight with what is masked at zero, whose gradient reaches all of it, equation (1)."""

    def __init__(self, gone: Tensor) -> None:
        super().__init__()
        self.gone = gone

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight `[out, in]` that the layer computes with."""
        return weight - weight.detach() * self.gone  # w - w is 0, and the gradient that of w


@contextmanager
def under(model: LanguageModel, masks: Masks) -> Iterator[None]:
    """Let every linear layer of the blocks compute under its mask inside the `with` block.

    The parameters are the same throughout, dense and in their place again at the end.
    """
    with ExitStack() as changes:
        for _, _, linear in model.linears():
            gone = masks[linear.weight]
            parametrize.register_parametrization(linear, "weight", Masked(gone))
            changes.callback(
                parametrize.remove_parametrizations, linear, "weight", leave_parametrized=False
            )
        yield


class AnnealedAdamW(torch.optim.Optimizer):
    """AdamW that pulls what is masked towards zero, past the first moment, section 3.2.

    `pull` gives lambda by step, counted from 0. Without a mask a parameter is AdamW's.
    """

    def __init__(
        self, parameters: Any, masks: Masks, pull: Callable[[int], float], **settings: Any
    ) -> None:
        super().__init__(parameters, {"eps": 1e-8} | settings)
        self.masks, self.pull = masks, pull

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # takes none
        """Take a step by the gradients that there are."""
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
