"""MaskLLM: learn which N of every M weights to keep (Fang et al., NeurIPS 2024).

Each group of M consecutive inputs has one logit for every mask that keeps N of them, six for 2:4.
Training samples a soft mask of each group by Gumbel softmax and multiplies it with the frozen
weights. It lowers the loss of the language model and rewards large kept weights. At the start, the
mask of a one-shot method can be made more likely. At the end, each group takes its most likely
mask.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import gumbel_softmax

from implementations.harness import (
    NM,
    PARTS,
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
    Stream,
    Tokens,
    WeightMethod,
    next_token_loss,
    optimise,
    total_weights,
    training_course,
)
from implementations.maskllm.masks import all_masks, masked_weights, one_shot

DEFAULT_GROUP = 4  # weights in a group without a pattern
MAX_MASKS = 100  # of a group; 4:8 has 70


class MaskLLM(WeightMethod):
    """Learn the masks of N:M groups by Gumbel softmax under the loss of the language model.

    Source: Fang et al., arXiv:2409.17481.
    """

    capabilities = Capabilities(
        granularity=("semi-structured",), calibration="training", trains="gates"
    )
    tiny_settings: ClassVar[dict[str, Any]] = {"steps": 3, "batch": 2}

    sparsity: Ratio = 0.5
    """Share of the weights to zero, rounded to whole weights of every four."""
    pattern: Pattern | None = None
    """Keep KEEP of every GROUP consecutive inputs of a row, as in `2:4`; replaces `sparsity`."""
    steps: Count = 2000
    """Number of training steps."""
    batch: Count = 256
    """Training windows per step."""
    at_once: Count = 1
    """Windows per forward pass, with new samples of all masks; `batch` must be a multiple of it."""
    learning_rate: Positive = 5e-4
    """Learning rate of the logits in the first step; it decays to a tenth along a cosine."""
    prior: Literal["sparsegpt", "wanda", "magnitude", "none"] = "sparsegpt"
    """Method whose masks are more likely at the start; SparseGPT without its weight updates."""
    strength: NonNegative = 3.0
    """Advantage of the prior's masks at the start, in standard deviations of the logits (alpha)."""
    deviation: Positive = 0.01
    """Standard deviation of the logits at the start."""
    first_scale: Positive = 100.0
    """Factor of the logits in the first step (kappa)."""
    last_scale: Positive = 500.0
    """Factor of the logits in the last step; it rises linearly."""
    first_temperature: Positive = 4.0
    """Temperature of the Gumbel softmax in the first step (tau)."""
    last_temperature: Positive = 0.05
    """Temperature of the Gumbel softmax in the last step; it falls linearly."""
    reward: NonNegative = 1e-5
    """Weight of the reward for large kept weights in the first step; it falls to 0 (lambda)."""
    skip: Literal["none", "attention", "feed-forward"] = "none"
    """Part of a decoder layer that keeps the prior's masks."""

    @property
    def groups(self) -> NM:
        """The pattern; without one, that of the sparsity in groups of four weights."""
        return self.pattern or NM(round((1 - self.sparsity) * DEFAULT_GROUP), DEFAULT_GROUP)

    @property
    def grouped(self) -> int:
        return self.groups.group

    def max_sparsity(self, model: LanguageModel) -> float:
        """Return the sparsity at which every group keeps one weight."""
        return 1 - 1 / self.grouped

    def largest_unit(self, model: LanguageModel) -> int:
        """Return how many weights are removed if every group keeps one weight less."""
        return total_weights(model) // self.grouped

    def check(self, model: LanguageModel, calibration: Tokens | None) -> None:
        """Also check the batch, the number of masks, and that skipped layers have a mask."""
        super().check(model, calibration)
        self.plan()
        masks = math.comb(self.grouped, self.groups.keep)
        if masks > MAX_MASKS:
            raise BadInput(
                f"pattern {self.pattern} has {masks:,} masks for each group, and {self.slug()} "
                f"needs a logit for each; use a pattern with at most {MAX_MASKS}, such as 2:4 or "
                "4:8"
            )
        if self.prior == "none" and self.skip != "none":
            raise BadInput("`skip` needs the masks of a prior; use prior=wanda or skip=none")

    def plan(self) -> Plan:
        """Return the training plan."""
        return Plan(
            self.steps,
            self.learning_rate,
            batch=self.batch,
            at_once=self.at_once,
            end=0.1,
            weight_decay=0.1,
            betas=(0.9, 0.95),
        )

    def prune(self, model: LanguageModel, calibration: Calibration) -> dict[str, Any]:
        """Train the logits, then zero the weights that the most likely masks remove."""
        assert calibration.training is not None  # guaranteed by `check`
        if self.groups.keep == self.grouped:
            return {}
        priors: dict[nn.Linear, Tensor] = {}
        if self.prior != "none":
            priors = one_shot(model, calibration, self.prior, self.groups)
        masks = all_masks(self.groups).to(model.device)
        choices: dict[nn.Linear, Choice] = {}
        for _, role, linear in model.linears():
            if role in PARTS.get(self.skip, ()):
                linear.weight.masked_fill_(~priors[linear], 0)
            elif linear.weight.numel():
                choices[linear] = Choice(linear.weight, masks, self.deviation)
                if linear in priors:
                    choices[linear].prefer(priors[linear], self.strength * self.deviation)
        losses = self.train(model, choices, calibration.training)
        moved = learned = 0
        for linear, choice in choices.items():
            keep = choice.likely().view_as(linear.weight)
            linear.weight.masked_fill_(~keep, 0)
            moved += int((keep != priors.get(linear, keep)).sum())
            learned += keep.numel()
        details = {"course": training_course(losses, calibration.training, self.batch)}
        return details | ({"differs_from_prior": moved / max(learned, 1)} if priors else {})

    def train(
        self, model: LanguageModel, choices: Mapping[nn.Linear, Choice], stream: Stream
    ) -> list[float]:
        """Train the logits; return the loss of every step without the reward."""
        gates = [choice.gate for choice in choices.values()]
        done = 0  # steps

        def loss(ids: Tensor) -> Tensor:
            t = done / max(self.steps - 1, 1)  # from 0 to 1
            for choice in choices.values():
                choice.scale = between(self.first_scale, self.last_scale, t)
                choice.temperature = between(self.first_temperature, self.last_temperature, t)
            predicted = next_token_loss(model, ids)
            size = torch.stack([choice.size for choice in choices.values()]).sum()
            reward = between(self.reward, 0, t) * size  # lambda sum ||W * mask||^2
            # Subtracts the gradient of the reward but not its value, so that the recorded losses
            # are those of the next tokens.
            return predicted - (reward - reward.detach())

        def after(step: int) -> None:
            nonlocal done
            done = step + 1

        model.hf.requires_grad_(False)
        with masked_weights(choices):
            return optimise(
                [{"params": gates, "eps": 1e-5}],
                loss,
                stream,
                self.plan(),
                after=after,
            )


class Choice(nn.Module):
    """The logits of all masks of every group of a weight `[out, in]`, and samples of soft masks."""

    size: Tensor
    """Sum of the squared weights under the last soft mask."""

    def __init__(self, weight: Tensor, masks: Tensor, deviation: float) -> None:
        super().__init__()
        self.masks = masks
        groups = weight.numel() // masks.shape[1]
        noise = torch.randn(len(masks), groups, device=weight.device)
        self.gate = nn.Parameter(deviation * noise)  # [masks, groups]; softmax is faster this way
        self.scale = self.temperature = 1.0

    def prefer(self, keep: Tensor, amount: float) -> None:
        """Raise the logits of masks that are similar to `keep [out, in]`.

        The similarity is the number of weights that both keep, minus its mean over all masks. For
        2:4, it is 1 for the same mask, 0 for four masks, and -1 for the opposite mask.
        """
        overlap = self.masks @ keep.float().view(-1, self.masks.shape[1]).T  # [masks, groups]
        with torch.no_grad():
            self.gate.add_(amount * (overlap - overlap.mean(dim=0)))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight under a new sample of soft masks, each with the sum N."""
        y = gumbel_softmax(self.scale * self.gate, self.temperature, dim=0)  # [masks, groups]
        used = weight * (self.masks.T @ y).T.reshape(weight.shape).to(weight.dtype)
        self.size = used.float().square().sum()
        return used

    def likely(self) -> Tensor:
        """Return the most likely mask of every group, boolean `[groups, group]`."""
        return self.masks[self.gate.argmax(dim=0)].bool()


def between(first: float, last: float, t: float) -> float:
    """Return the value at `t` of a straight line from `first` at 0 to `last` at 1."""
    return first + (last - first) * t
