"""Sheared LLaMA: train a model and gates on it towards a given shape (Xia et al., ICLR 2024).

Decoder layers, hidden dimensions, query heads and MLP channels have stochastic gates. Gates and
weights are trained together on the next token. For each kind of gate, a Lagrangian closes the share
that the target shape lacks. Then the gates are rounded to exactly that shape, multiplied into the
weights, and everything behind a closed gate is cut off. The mix of two texts follows the losses on
them.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from implementations.harness import (
    FIXED_WIDTH,
    BadInput,
    Calibration,
    Capabilities,
    Count,
    LanguageModel,
    Plan,
    Positive,
    Ratio,
    ShapeChoices,
    Tokens,
    UniformShape,
    UnitMethod,
    Whole,
    next_token_loss,
    optimise,
    shape_of,
    training_course,
)
from implementations.shearedllama.gates_and_texts import (
    AllGates,
    Mixture,
    all_gates,
    cut,
    gate_counts,
    shares_to_close,
    spread,
)

TEMPERATURE = 2 / 3  # tau
LOW, HIGH = -0.1, 1.1  # the interval to which the concrete distribution is stretched
EPSILON = 1e-6
LIMIT = math.log(100)  # logits stay between -LIMIT and LIMIT
SHARPNESS = 0.8  # of gates that are no longer drawn


class ShearedLlama(UnitMethod):
    """Learn which layers, hidden dimensions, heads and channels to keep while training all weights.

    Source: Xia et al., arXiv:2310.06694, and the official code.
    """

    capabilities = Capabilities(
        granularity=("hidden", "query-heads", "channels", "blocks"),
        calibration="training",
        trains="weights",
        texts=("training", "domain"),
        changes=("linears", "norms", "embedding", "head"),
        refuses=FIXED_WIDTH
        | {"gemma3": "it normalises the outputs of attention and MLP, which undoes gates on them"},
    )
    tiny_settings: ClassVar[dict[str, Any]] = {"steps": 6, "batch": 2, "interval": 3}

    sparsity: Ratio = 0.2
    """Share of the weights in the decoder's linear layers to remove."""
    depth: Ratio = 1.0
    """Share of the decoder layers to keep, rounded to whole layers."""
    most: Ratio = 0.5
    """Largest share of the hidden dimensions, query heads and MLP channels that may be removed."""
    hidden_multiple: Count = 8
    """The hidden size is a multiple of this number and of the number of query heads."""
    channel_multiple: Count = 8
    """The number of MLP channels is a multiple of this number."""
    steps: Count = 3200
    """Number of training steps."""
    batch: Count = 32
    """Training windows per step."""
    at_once: Count = 1
    """Windows per forward pass; `batch` must be a multiple of it."""
    learning_rate: Positive = 1e-4
    """Largest learning rate of the weights."""
    gate_rate: Positive = 1.0
    """Largest learning rate of the gates and of the multipliers."""
    warmup: Ratio = 0.2
    """Share of the steps in which the sparsity that the multipliers demand rises."""
    general: Ratio = 0.955
    """Share of general text at the start; the rest is text of the domain, source code."""
    interval: Whole = 50
    """Steps between two changes of that share; 0 keeps it."""

    def check(self, model: LanguageModel, calibration: Tokens | None) -> None:
        """Also check the shape, the plan and the length of the texts."""
        super().check(model, calibration)
        self.target_shape(model)
        self.plan()
        assert isinstance(calibration, Calibration)  # guaranteed by the base class
        Mixture(calibration, self.general)

    def choices(self, model: LanguageModel) -> ShapeChoices:
        """Return the allowed shapes, with the number of layers to keep."""
        dense = shape_of(model)
        kept = replace(dense, blocks=max(round(self.depth * dense.blocks), 1))
        return ShapeChoices(kept, self.most, self.hidden_multiple, self.channel_multiple)

    def largest_unit(self, model: LanguageModel) -> int:
        """Return the weights of one step of the number of channels."""
        return self.choices(model).unit

    def max_sparsity(self, model: LanguageModel) -> float:
        """Return the share that the smallest shape removes."""
        return 1 - self.choices(model).smallest / shape_of(model).weights

    def target_shape(self, model: LanguageModel) -> UniformShape:
        """Return the shape that meets the budget and cuts the three widths most evenly."""
        choices, left = self.choices(model), (1 - self.sparsity) * shape_of(model).weights
        if left > choices.dense.weights + choices.unit / 2:
            raise BadInput(f"`depth` {self.depth:g} alone exceeds `sparsity`; raise either of them")
        return min(choices.near(left), key=lambda shape: spread(shape, choices.dense))

    def plan(self) -> Plan:
        """Return the training plan."""
        rate, betas = self.learning_rate, (0.9, 0.95)
        return Plan(self.steps, rate, self.batch, self.at_once, warmup=0.1, end=0.1, betas=betas)

    def prune(self, model: LanguageModel, calibration: Calibration) -> dict[str, Any]:
        """Train gates and weights, round the gates to the target shape, and cut."""
        shape = self.target_shape(model)
        training = Training(self, model, shape, Mixture(calibration, self.general))
        losses = training.run()
        closed = {kind: 1 - float(openness(x).mean()) for kind, x in training.logits.items()}
        cut(model, training.rounded(shape))
        return {
            "shape": shape.summary,
            "closed_before_rounding": closed,
            "closed_in_the_target": training.targets,
            "general_text": float(training.mixture.shares[0]),
            "course": training_course(losses, training.mixture.streams[0], self.batch),
        }


class Training:
    """Gates, multipliers and weights, and the loss of a step."""

    gates: AllGates

    def __init__(
        self, method: ShearedLlama, model: LanguageModel, shape: UniformShape, mixture: Mixture
    ) -> None:
        self.method, self.model, self.mixture = method, model, mixture
        dense = shape_of(model)
        self.logits = {
            kind: nn.Parameter(torch.full(size, LIMIT, device=model.device))
            for kind, size in gate_counts(dense).items()
        }
        self.targets = shares_to_close(dense, shape)
        self.multipliers = nn.Parameter(torch.zeros(len(self.logits), 2, device=model.device))
        self.multipliers.register_hook(torch.neg)  # ascends, while all others descend
        self.done = 0  # completed steps

    def run(self) -> list[float]:
        """Train and return the loss of every step."""
        method, model = self.method, self.model
        weights = [p for p in model.hf.requires_grad_(True).parameters() if p.numel()]
        groups: list[dict[str, Any]] = [
            {"params": weights},
            {"params": [*self.logits.values(), self.multipliers], "lr": method.gate_rate},
        ]
        references = self.mixture.losses(model)  # those of the dense model

        def after(step: int) -> None:
            self.done = step + 1
            for logits in self.logits.values():
                logits.clamp_(-LIMIT, LIMIT)
            if method.interval and (step + 1) % method.interval == 0:
                # Losses with the expected number of gates open.
                gates = {kind: fixed_gates(x, expected_open(x)) for kind, x in self.logits.items()}
                self.gates.set(gates)
                self.mixture.update(self.mixture.losses(model), references)

        with all_gates(model) as self.gates:
            general = self.mixture.streams[0]
            return optimise(groups, self.loss, general, method.plan(), after=after)

    def loss(self, ids: Tensor) -> Tensor:
        """Return the next-token loss under one draw of all gates, plus the Lagrangian."""
        self.gates.set({kind: sample_gates(logits) for kind, logits in self.logits.items()})
        loss = next_token_loss(self.model, self.mixture.mixed(ids))
        rise = min(self.done / max(self.method.warmup * self.method.steps, 1), 1)
        for kind, multipliers in zip(self.logits, self.multipliers, strict=True):
            loss = loss + penalty(self.logits[kind], rise * self.targets[kind], multipliers)
        return loss

    def rounded(self, shape: UniformShape) -> dict[str, Tensor]:
        """Return gates of which exactly those of the target shape are open, on the CPU.

        Every KV group keeps the same number of query heads.
        """
        logits = {kind: x.detach().cpu() for kind, x in self.logits.items()}
        heads = logits["query-heads"].unflatten(1, (shape.kv_heads, -1))
        return {
            "blocks": fixed_gates(logits["blocks"], shape.blocks),
            "hidden": fixed_gates(logits["hidden"], shape.hidden),
            "query-heads": fixed_gates(heads, shape.group).flatten(1),
            "channels": fixed_gates(logits["channels"], shape.channels),
        }


def sample_gates(logits: Tensor) -> Tensor:
    """Draw one gate per logit, in [0, 1]; gradients reach the logits."""
    u = torch.rand_like(logits) * (1 - 2 * EPSILON) + EPSILON
    noise = u.log() - (1 - u).log()
    return ((HIGH - LOW) * torch.sigmoid((noise + logits) / TEMPERATURE) + LOW).clamp(0, 1)


def openness(logits: Tensor) -> Tensor:
    """Return the probability that a gate is not 0."""
    shift = TEMPERATURE * math.log(-LOW / HIGH)
    return torch.sigmoid(logits - shift).clamp(EPSILON, 1 - EPSILON)


def fixed_gates(logits: Tensor, kept: Tensor | int) -> Tensor:
    """Return fixed gates `[..., gates]`: 0 except for the highest `kept` (one or `[...]`) a row."""
    ranks = logits.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
    counts = torch.as_tensor(kept, device=logits.device).unsqueeze(-1)
    return torch.sigmoid(SHARPNESS * logits / TEMPERATURE) * (ranks < counts)


def expected_open(logits: Tensor) -> Tensor:
    """Return the expected number of open gates of each row, rounded."""
    return openness(logits).sum(dim=-1).round()


def penalty(logits: Tensor, target: float, multipliers: Tensor) -> Tensor:
    """Return the Lagrangian term of one kind of gates, the mean over its rows `[..., gates]`.

    `target` is the share to close, and `multipliers [2]` are `lambda_1` and `lambda_2`.
    """
    missed = (1 - openness(logits).mean(dim=-1)) - target  # s - t, one per row
    return (multipliers[0] * missed + multipliers[1] * missed.square()).mean()
