"""LoRAPrune: prune while LoRA trains, by the gradients of its factors (Zhang et al., ACL Findings).

A frozen weight is trained through two small factors beside it, and their gradients alone tell how
the loss would move with the large weight: so importance comes with every step of the tuning, and
gradients of the large weights are never held. Step by step more heads and channels are masked,
while the factors learn to do without them. In the end these are added to the weights, and what is
masked is cut.
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
    adapter,
    check_low_rank,
    course,
    cuts,
    gated,
    low_rank,
    next_token_loss,
    optimise,
    remove_units,
    smallest,
    unit_costs,
    widths_left,
)


class LoRAPrune(UnitMethod):
    """Mask KV groups and channels step by step while low-rank factors are trained, then cut them.

    Source: Zhang et al., arXiv:2305.18403, formulas (4) to (13); schedule and exempt blocks are
    those of its code.
    """

    capabilities = Capabilities(
        granularity=("kv-groups", "channels"), calibration="training", trains="weights"
    )
    small: ClassVar[dict[str, Any]] = {"steps": 5, "batch": 2, "every": 1, "learning_rate": 1e-3}
    least = 1

    sparsity: Ratio = 0.2
    """Share of the decoder blocks' linear weights to remove."""
    criterion: Literal["lora", "gradient", "magnitude"] = "lora"
    """What the merged weight is multiplied by: the estimate, the gradient itself, or nothing."""
    as_code: bool = False
    """Absolute values for squares, and the scores of each layer to norm 1, as the code has it."""
    smoothing: Ratio = 0.9
    """What the average of the scores keeps of itself in a step (lambda)."""
    warmup: Ratio = 0.1
    """Share of the steps, from the first, in which nothing is masked yet."""
    cooldown: Ratio = 0.1
    """Share of the steps, up to the last, in which all is masked that goes."""
    every: Count = 10
    """Steps between two masks."""
    first: Ratio = 0.1
    """Share of the blocks, from the first and rounded down, that lose nothing."""
    last: Whole = 1
    """Blocks, up to the last, that lose nothing."""
    rank: Count = 8
    """Of the factors (r)."""
    scale: Positive = 2.0
    """What multiplies their product (s, alpha / r)."""
    steps: Count = 312
    """Steps of AdamW: two epochs of 20,000 windows."""
    batch: Count = 128
    """Windows a step."""
    at_once: Count = 1
    """Windows that pass through the model together."""
    learning_rate: Positive = 1e-4
    """Largest one; it falls as a cosine."""

    def check(self, model: LanguageModel, calibration: Tokens | None) -> None:
        """Refuse also a plan that is none, and shares of the steps that overlap."""
        super().check(model, calibration)
        check_low_rank(self.slug())
        _ = self.plan
        if self.warmup + self.cooldown > 1:
            raise BadInput(
                f"warmup {self.warmup:g} and cooldown {self.cooldown:g} are shares of the steps "
                "and together more than 1; make them smaller"
            )

    @property
    def plan(self) -> Plan:
        """The training; `prune` clips the gradients itself."""
        return Plan(
            self.steps, self.learning_rate, batch=self.batch, at_once=self.at_once, clip=None
        )

    def taking_part(self, model: LanguageModel) -> Tensor:
        """Mark the blocks that lose units: all but the first tenth and the last one."""
        blocks = torch.arange(len(model.blocks))
        return (blocks >= int(self.first * len(blocks))) & (blocks < len(blocks) - self.last)

    def prune(self, model: LanguageModel, calibration: Calibration) -> dict[str, Any]:
        """Train and mask, merge, cut; return the widths left and the course of the training."""
        stream, plan = calibration.training, self.plan
        assert stream is not None  # `check` saw to it
        budget = self.budget(model)
        parts = [len(unit_costs(block, kind)) for block in model.blocks for kind in self.kinds]
        gates = torch.ones(sum(parts), device=model.device)  # [units], 0 where masked
        average = torch.zeros_like(gates)
        lost = torch.zeros(len(parts), dtype=torch.int64)  # units, once masking has begun
        sizes = [len(unit_costs(block, *self.kinds)) for block in model.blocks]
        taking_part = self.taking_part(model).tolist()
        averages = zip(model.blocks, average.split(sizes), taking_part, strict=True)
        scored = [(block, part) for block, part, takes in averages if takes]
        model.hf.train()
        with low_rank(model, self.rank, self.scale) as factors, gated(model, *self.kinds) as gate:
            gate.values = gates  # at what enters o and down, factors included: formula (13)
            large = self.unfrozen([block for block, _ in scored])

            def before(step: int) -> None:
                nn.utils.clip_grad_norm_([*factors, *large], 1.0)  # together, as in the code
                for block, part in scored:
                    part.lerp_(self.score(block), 1 - self.smoothing)  # formula (11)
                for weight in large:
                    weight.grad = None
                share = self.share(step)
                if step % self.every == 0 or share == 1:
                    if share and not lost.any():  # by the scores that the warm-up has gathered
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
                state={"average": average, "gates": gates, "lost": lost},
            )
        remove_units(model, gates == 0)
        return widths_left(model) | {"course": course(losses, stream, plan.batch)}

    def counts(self, model: LanguageModel, scores: Sequence[Tensor], budget: float) -> Tensor:
        """Count the units that every block loses, `[blocks * kinds]`, as `scores` are ordered."""
        groups = scores[:: len(self.kinds)]  # KV groups come first in every block
        lost = self.widths(model, torch.ones(len(model.blocks)), {"kv-groups": groups}, budget)
        return torch.tensor(lost).flatten()

    def unfrozen(self, blocks: Sequence[Block]) -> list[nn.Parameter]:
        """Enable gradients of the large weights if the criterion needs them; return these weights.

        `blocks` are the ones that are scored: as in the code, no other has such gradients.
        """
        if self.criterion != "gradient":
            return []
        linears = [linear for block in blocks for linear in block.linears().values()]
        weights = [adapter(linear).weight for linear in linears if linear.weight.numel()]
        for weight in weights:
            weight.requires_grad_(True)
        return weights

    def share(self, step: int) -> float:
        """Return how much of what goes is masked in step `step`, counted from 0: a cubic curve."""
        start, end = self.warmup * self.steps, (1 - self.cooldown) * self.steps
        if step > end or step == self.steps - 1:
            return 1.0
        if step <= start:
            return 0.0
        return 1 - (1 - (step - start) / (end - start)) ** 3

    def score(self, block: Block) -> Tensor:
        """Score the units of a block by the sums over their weights, `[units]`; formula (4)."""
        weights = {linear: self.importance(linear) for linear in block.linears().values()}
        found = []
        for kind in self.kinds:
            layers = torch.stack(
                [part.owned(weights[part.linear]).sum(dim=(1, 2)) for part in cuts(block, kind)]
            )  # [layers, units]
            if self.as_code:
                layers = layers / (layers.norm(dim=1, keepdim=True) + 1e-8)
            found.append(layers.sum(dim=0))
        return torch.cat(found)

    def importance(self, linear: nn.Linear) -> Tensor:
        """Score every weight of a layer with factors beside it, fp32 `[out, in]`; formula (10)."""
        if not linear.weight.numel():  # nothing is left, neither weights nor factors
            return linear.weight
        W, A, B, s = adapter(linear)
        change = (W.float() + s * (B @ A)).detach()
        if self.criterion == "lora":
            change *= estimate(A, B)
        elif self.criterion == "gradient":
            change *= graded(W)  # formula (3)
        return change.abs() if self.as_code else change.square()


def estimate(A: nn.Parameter, B: nn.Parameter) -> Tensor:
    """Return how B A would change by a plain step of rate 1, `[out, in]`; formula (9).

    It stands for the gradient of the loss by `B A`, of which only those by `A [r, in]` and
    `B [out, r]` are at hand.
    """
    gA, gB = graded(A), graded(B)
    return gB @ A + B @ gA - gB @ gA


def graded(parameter: nn.Parameter) -> Tensor:
    """Return the gradient of a step, which is there once the loss was back-propagated."""
    assert parameter.grad is not None
    return parameter.grad


def mask(gates: Tensor, scores: Tensor, lost: int, share: float) -> None:
    """Close, in place, the gates of the lowest of `scores [units]`: a share of the `lost` ones.

    Closed ones stay closed (12).
    """
    scores = scores.masked_fill(gates == 0, -torch.inf)
    gates[smallest(scores, round(share * lost))] = 0
