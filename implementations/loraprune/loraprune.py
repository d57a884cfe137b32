"""LoRAPrune: prune during LoRA fine-tuning, guided by LoRA gradients (Zhang et al., ACL Findings).

Each weight is frozen and adapted by two small factors. Their gradients alone show how the loss
would change with the large weight. Every training step therefore yields importance scores, and
gradients of the large weights are never stored. Step by step, more heads and channels are masked
while the factors learn to work without them. At the end, the factors are merged into the weights
and the masked units are removed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from implementations.harness import (
    BadInput,
    Block,
    Calibration,
    Capabilities,
    Count,
    LanguageModel,
    Plan,
    Positive,
    Ratio,
    Tokens,
    UnitMethod,
    Whole,
    adapter_parameters,
    check_low_rank,
    cuts,
    gated,
    low_rank,
    next_token_loss,
    optimise,
    remove_units,
    smallest,
    training_course,
    unit_costs,
    widths_left,
)


class LoRAPrune(UnitMethod):
    """Mask KV groups and MLP channels gradually during LoRA fine-tuning, then remove them.

    Source: Zhang et al., arXiv:2305.18403, formulas (4) to (13); schedule and exempt blocks are
    those of its code.
    """

    capabilities = Capabilities(
        granularity=("kv-groups", "channels"), calibration="training", trains="factors"
    )
    tiny_settings: ClassVar[dict[str, Any]] = {
        "steps": 5,
        "batch": 2,
        "every": 1,
        "learning_rate": 1e-3,
    }
    least = 1

    sparsity: Ratio = 0.2
    """Share of the weights in the decoder's linear layers to remove."""
    criterion: Literal["lora", "gradient", "magnitude"] = "lora"
    """Factor of the merged weight in the score: estimated gradient, exact gradient, or none."""
    as_code: bool = False
    """Use absolute values, not squares, and scale each layer's scores to norm 1, as in the code."""
    smoothing: Ratio = 0.9
    """Decay of the moving average of the scores per step (lambda)."""
    warmup: Ratio = 0.1
    """Share of the steps at the start in which nothing is masked."""
    cooldown: Ratio = 0.1
    """Share of the steps at the end in which all units to remove are masked."""
    every: Count = 10
    """Number of steps between two updates of the masks."""
    first: Ratio = 0.1
    """Share of the decoder layers at the start that are not pruned, rounded down."""
    last: Whole = 1
    """Number of decoder layers at the end that are not pruned."""
    rank: Count = 8
    """Rank of the LoRA factors (r)."""
    scale: Positive = 2.0
    """Scale of the product of the LoRA factors (s, alpha / r)."""
    steps: Count = 312
    """Number of AdamW steps; the default is two epochs of 20,000 windows."""
    batch: Count = 128
    """Number of windows per step."""
    at_once: Count = 1
    """Number of windows per forward pass."""
    learning_rate: Positive = 1e-4
    """Peak learning rate, followed by cosine decay."""

    def check(self, model: LanguageModel, calibration: Tokens | None) -> None:
        """Also reject an invalid training schedule, and warm-up and cool-down that overlap."""
        super().check(model, calibration)
        check_low_rank(self.slug())
        _ = self.plan
        if self.warmup + self.cooldown > 1:
            raise BadInput(
                f"`warmup` and `cooldown` must add up to at most 1, got {self.warmup:g} and "
                f"{self.cooldown:g}; make them smaller"
            )

    @property
    def plan(self) -> Plan:
        """The training schedule; `prune` clips the gradients itself."""
        return Plan(
            self.steps, self.learning_rate, batch=self.batch, at_once=self.at_once, clip=None
        )

    def taking_part(self, model: LanguageModel) -> Tensor:
        """Mark the blocks that are pruned: by default, all but the first tenth and the last one."""
        blocks = torch.arange(len(model.blocks))
        return (blocks >= int(self.first * len(blocks))) & (blocks < len(blocks) - self.last)

    def prune(self, model: LanguageModel, calibration: Calibration) -> dict[str, Any]:
        """Train and mask, merge and remove; return the new widths and the course of training."""
        stream, plan = calibration.training, self.plan
        assert stream is not None  # ensured by `check`
        budget = self.budget(model)
        parts = [len(unit_costs(block, kind)) for block in model.blocks for kind in self.kinds]
        gates = torch.ones(sum(parts), device=model.device)  # [units], 0 where masked
        average = torch.zeros_like(gates)
        lost = torch.zeros(len(parts), dtype=torch.int64)  # units, set when masking begins
        sizes = [len(unit_costs(block, *self.kinds)) for block in model.blocks]
        taking_part = self.taking_part(model).tolist()
        averages = zip(model.blocks, average.split(sizes), taking_part, strict=True)
        scored = [(block, part) for block, part, takes in averages if takes]
        model.hf.train()
        with low_rank(model, self.rank, self.scale) as factors, gated(model, *self.kinds) as gate:
            gate.values = gates  # on the inputs of o and down, factors included: formula (13)
            large = self.unfrozen([block for block, _ in scored])

            def before(step: int) -> None:
                nn.utils.clip_grad_norm_([*factors, *large], 1.0)  # together, as in the code
                for block, part in scored:
                    part.lerp_(self.score(block), 1 - self.smoothing)  # formula (11)
                for weight in large:
                    weight.grad = None
                share = self.share(step)
                if step % self.every == 0 or share == 1:
                    if share and not lost.any():  # by the scores collected in the warm-up
                        lost.copy_(self.counts(model, average.split(parts), budget))
                    counts = lost.tolist()
                    for each in zip(gates.split(parts), average.split(parts), counts, strict=True):
                        mask(*each, share)

            losses = optimise(
                factors,
                lambda ids: next_token_loss(model, ids),
                stream,
                plan,
                before=before,
            )
        remove_units(model, gates == 0)
        return widths_left(model) | {"course": training_course(losses, stream, plan.batch)}

    def counts(self, model: LanguageModel, scores: Sequence[Tensor], budget: float) -> Tensor:
        """Return how many units each block loses, `[blocks * kinds]`, in the order of `scores`."""
        groups = scores[:: len(self.kinds)]  # KV groups come first in every block
        lost = self.widths(model, torch.ones(len(model.blocks)), {"kv-groups": groups}, budget)
        return torch.tensor(lost).flatten()

    def unfrozen(self, blocks: Sequence[Block]) -> list[nn.Parameter]:
        """Enable gradients of the large weights if the criterion needs them; return these weights.

        `blocks` are those that are scored; as in the code, no other block has such gradients.
        """
        if self.criterion != "gradient":
            return []
        linears = [linear for block in blocks for linear in block.linears().values()]
        weights = [adapter_parameters(linear).weight for linear in linears if linear.weight.numel()]
        for weight in weights:
            weight.requires_grad_(True)
        return weights

    def share(self, step: int) -> float:
        """Return the share of the units to remove that is masked in `step`, counted from 0.

        The share follows a cubic curve.
        """
        start, end = self.warmup * self.steps, (1 - self.cooldown) * self.steps
        if step > end or step == self.steps - 1:
            return 1.0
        if step <= start:
            return 0.0
        return 1 - (1 - (step - start) / (end - start)) ** 3

    def score(self, block: Block) -> Tensor:
        """Score the units of a block, summed over their weights, `[units]`; formula (4)."""
        scores = []
        for kind in self.kinds:
            layers = torch.stack(
                [
                    part.owned(self.importance(part.linear)).sum(dim=(1, 2))
                    for part in cuts(block, kind)
                ]
            )  # [layers, units]
            if self.as_code:
                layers = layers / (layers.norm(dim=1, keepdim=True) + 1e-8)
            scores.append(layers.sum(dim=0))
        return torch.cat(scores)

    def importance(self, linear: nn.Linear) -> Tensor:
        """Score every weight of a layer with LoRA factors, fp32 `[out, in]`; formula (10)."""
        if not linear.weight.numel():  # an empty layer has neither weights nor factors
            return linear.weight
        W, A, B, s = adapter_parameters(linear)
        change = (W.float() + s * (B @ A)).detach()
        if self.criterion == "lora":
            change *= estimate(A, B)
        elif self.criterion == "gradient":
            change *= graded(W)  # formula (3)
        return change.abs() if self.as_code else change.square()


def estimate(A: nn.Parameter, B: nn.Parameter) -> Tensor:
    """Return the change of `B A` in a plain step with learning rate 1, `[out, in]`; formula (9).

    It estimates the gradient of the loss with respect to `B A` from the gradients with respect to
    `A [r, in]` and `B [out, r]`.
    """
    gA, gB = graded(A), graded(B)
    return gB @ A + B @ gA - gB @ gA


def graded(parameter: nn.Parameter) -> Tensor:
    """Return the gradient of a parameter; the loss must have been back-propagated."""
    assert parameter.grad is not None
    return parameter.grad


def mask(gates: Tensor, scores: Tensor, lost: int, share: float) -> None:
    """Close, in place, the gates of the units with the lowest `scores [units]`.

    The number of closed gates is `share` of the `lost` units. Closed gates stay closed (12).
    """
    scores = scores.masked_fill(gates == 0, -torch.inf)
    gates[smallest(scores, round(share * lost))] = 0
