"""Toy methods that satisfy the contract, each in a different way."""

from __future__ import annotations

import math
import random
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from implementations.griffin.prompt import PromptMethod
from implementations.harness import (
    ActivationMethod,
    Block,
    Calibration,
    Capabilities,
    ColumnNorm,
    Drop,
    ExpertMethod,
    Gram,
    Kept,
    LanguageModel,
    Plan,
    Quantiles,
    Ratio,
    Tokens,
    UnitMethod,
    WalkedBlock,
    WeightMethod,
    cheapest,
    gated,
    keep_channels,
    keep_units,
    next_token_loss,
    optimise,
    remove_blocks,
    remove_units,
    training_course,
    unit_costs,
    walk,
)

WEIGHTS = ("unstructured", "semi-structured")


class Named:
    """A method without a folder."""

    @classmethod
    def slug(cls) -> str:
        return "toy"


class First(Named, WeightMethod):
    """Zero the first weights of each row."""

    capabilities = Capabilities(granularity=WEIGHTS, calibration="none")

    def prune(self, model: LanguageModel, calibration: Tokens) -> Any:
        for _, _, linear in model.linears():
            self.zero(linear)

    def zero(self, linear: nn.Linear) -> None:
        linear.weight.masked_fill_(self.choose(self.scores(linear.weight)), 0)

    def scores(self, weight: Tensor) -> Tensor:
        return torch.arange(weight.numel()).view_as(weight).float()


class Drawing(First):
    """Zero random weights, drawn from every global generator."""

    def scores(self, weight: Tensor) -> Tensor:
        drawn = torch.rand(weight.shape) + random.random()
        return drawn.flatten()[np.random.permutation(weight.numel())].view_as(weight)


class Reading(First):
    """Zero the weights whose inputs have small norms in the calibration set."""

    capabilities = Capabilities(granularity=WEIGHTS, calibration="forward")
    statistic: ClassVar[type[ColumnNorm]] = ColumnNorm

    def prune(self, model: LanguageModel, calibration: Tokens) -> Any:
        for block in walk(model, calibration):
            seen = block.observe(self.statistic)
            for role, linear in block.linears().items():
                removed = self.choose(seen[role].norms.expand_as(linear.weight))
                linear.weight.masked_fill_(removed, 0)


class Replacing(First):
    """Replace layers, in training mode, and parameters by new ones."""

    capabilities = Capabilities(granularity=WEIGHTS, calibration="forward")

    def prune(self, model: LanguageModel, calibration: Tokens) -> Any:
        for block in walk(model, calibration):
            block.observe(ColumnNorm)
            old = block.feed_forward.up
            new = nn.Linear(old.in_features, old.out_features, old.bias is not None)
            new.to(old.weight.dtype).load_state_dict(old.state_dict())
            block.module.set_submodule(block.family.up, new)
            for linear in block.linears().values():
                linear.weight = nn.Parameter(linear.weight.clone())
                self.zero(linear)


class Steered(First):
    """Zero the weights with the smallest gradients, which it enables and leaves to `apply`."""

    capabilities = Capabilities(granularity=WEIGHTS, calibration="gradient")

    def prune(self, model: LanguageModel, calibration: Tokens) -> Any:
        for block in walk(model, calibration):
            grams = block.observe(Gram)
            for role, linear in block.linears().items():
                linear.weight.requires_grad_(True)
                linear.weight.grad = None
                with torch.enable_grad():  # the energy of the outputs, tr(W X^T X W^T)
                    energy = (linear.weight.float() @ grams[role].matrix * linear.weight).sum()
                    energy.backward()
                linear.weight.masked_fill_(self.choose(linear.weight.grad.abs().float()), 0)


class Trained(First):
    """Zero the first weights and train the others and the norms."""

    capabilities = Capabilities(
        granularity=WEIGHTS, calibration="training", trains="weights", changes=("linears", "norms")
    )
    tiny_settings: ClassVar[dict[str, Any]] = {"steps": 2}

    steps: int = 10**9

    def prune(self, model: LanguageModel, calibration: Calibration) -> Any:
        stream, plan = calibration.training, Plan(steps=self.steps, rate=1e-3, batch=2)
        linears = [linear for _, _, linear in model.linears()]
        norms = [norm for block in model.blocks for norm in block.norms.values()]
        model.hf.requires_grad_(False)
        parameters = [p for part in (*linears, *norms) for p in part.parameters()]
        for parameter in parameters:
            parameter.requires_grad_(True)
        for linear in linears:
            self.zero(linear)
        removed = [linear.weight == 0 for linear in linears]

        def keep_zeros(_: int) -> None:
            for linear, zeros in zip(linears, removed, strict=True):
                linear.weight.masked_fill_(zeros, 0)

        losses = optimise(
            parameters, lambda ids: next_token_loss(model, ids), stream, plan, after=keep_zeros
        )
        return {"course": training_course(losses, stream, plan.batch)}


class Gated(Named, UnitMethod):
    """Remove the KV groups and channels with the smallest trained gates."""

    capabilities = Capabilities(
        granularity=("kv-groups", "channels"), calibration="training", trains="gates"
    )
    tiny_settings: ClassVar[dict[str, Any]] = {"steps": 2}

    steps: int = 10**9

    def prune(self, model: LanguageModel, calibration: Calibration) -> Any:
        stream, plan = calibration.training, Plan(steps=self.steps, rate=0.1, batch=2)
        logits = nn.Parameter(torch.full((len(self.costs(model)),), 3.0))
        model.hf.requires_grad_(False)
        with gated(model, *self.kinds) as gates:

            def loss(ids: Tensor) -> Tensor:
                gates.values = torch.sigmoid(logits + torch.randn_like(logits))
                return next_token_loss(model, ids)

            losses = optimise([logits], loss, stream, plan)
        remove_units(model, self.choose(model, logits.detach()))
        return {"course": training_course(losses, stream, plan.batch)}


class Messy(Reading):
    """Change every flag, which `apply` restores."""

    def prune(self, model: LanguageModel, calibration: Tokens) -> Any:
        model.config.use_cache = not model.config.use_cache
        model.hf.train(not model.hf.training)
        for parameter in model.hf.parameters():
            parameter.requires_grad_(not parameter.requires_grad)
            parameter.grad = None if parameter.is_meta else torch.ones_like(parameter)
        super().prune(model, calibration)


class Rounding(First):
    """Zero the first weights and set the size of the others to the layer's mean."""

    capabilities = Capabilities(granularity=WEIGHTS, calibration="none", quantises=True)

    def prune(self, model: LanguageModel, calibration: Tokens) -> Any:
        if not self.target:
            return {}
        super().prune(model, calibration)
        return {"bits": math.log2(3)}

    def zero(self, linear: nn.Linear) -> None:
        super().zero(linear)
        linear.weight.copy_(linear.weight.sign() * linear.weight.abs().mean())


class Limited(First):
    """Zero the first weights of each row, at most 60 %."""

    capabilities = Capabilities(granularity=("unstructured",), calibration="none")

    def max_sparsity(self, model: LanguageModel) -> float:
        return 0.6


class Narrow(Named, UnitMethod):
    """Remove the first KV groups and channels."""

    capabilities = Capabilities(granularity=("kv-groups", "channels"), calibration="none")

    def prune(self, model: LanguageModel, calibration: Tokens) -> Any:
        costs = [unit_costs(block, "kv-groups", "channels") for block in model.blocks]
        remove_units(model, self.chosen(torch.cat(costs)))

    def chosen(self, costs: Tensor) -> Tensor:
        return cheapest(torch.arange(len(costs)), costs, self.sparsity)


class Fewer(Named, ExpertMethod):
    """Remove the first experts."""

    capabilities = Capabilities(granularity=("experts",), calibration="none")

    def prune(self, model: LanguageModel, calibration: Tokens) -> Any:
        left = range(self.lost(model), 8)
        return self.keep(model, {block.index: left for block in model.blocks if block.experts})


class Thin(Named, UnitMethod):
    """Remove the first channels but no attention, so that the sparsity is limited."""

    capabilities = Capabilities(granularity=("channels",), calibration="none")

    sparsity: Ratio = 0.5  # above the maximum for some models

    def prune(self, model: LanguageModel, calibration: Tokens) -> Any:
        channels = [block.feed_forward.channels for block in model.blocks]
        removed = self.choose(model, torch.arange(sum(channels))).split(channels)
        for block, mask in zip(model.visit(), removed, strict=True):
            keep_channels(block.feed_forward, ~mask)


class Indexed(Named, UnitMethod):
    """Remove value dimensions and rotary pairs, every third one first."""

    capabilities = Capabilities(
        granularity=("value-dims", "rotary-pairs"),
        calibration="none",
        refuses={"opt": "it has no rotary pairs"},
    )

    def prune(self, model: LanguageModel, calibration: Tokens) -> Any:
        kinds = self.capabilities.granularity
        counts = [len(unit_costs(block, kind)) for block in model.blocks for kind in kinds]
        removed = iter(self.choose(model, torch.arange(sum(counts)) % 3).split(counts))
        for block in model.visit():
            for kind in kinds:
                keep_units(block, kind, ~next(removed))


class HalfNarrow(Named, UnitMethod):
    """Remove the first hidden dimensions that an attention reads and that an MLP writes."""

    capabilities = Capabilities(
        granularity=("attention-inputs", "feed-forward-outputs"), calibration="none"
    )

    def prune(self, model: LanguageModel, calibration: Tokens) -> Any:
        kinds = self.capabilities.granularity
        counts = [len(unit_costs(block, kind)) for block in model.blocks for kind in kinds]
        removed = iter(self.choose(model, torch.arange(sum(counts))).split(counts))
        for block in model.visit():
            for kind in kinds:
                keep_units(block, kind, ~next(removed))


class Shallow(Named, UnitMethod):
    """Remove the first blocks."""

    capabilities = Capabilities(granularity=("blocks",), calibration="none")

    def prune(self, model: LanguageModel, calibration: Tokens) -> Any:
        remove_blocks(model, self.choose(model, torch.arange(len(model.blocks))))


class Prompted(Named, PromptMethod):
    """Keep the channels with the largest activations on a prompt."""

    capabilities = Capabilities(
        granularity=("channels",),
        calibration="none",
        when="input-dependent",
        prompted=True,
        changes=(),
    )

    def evidence(self, inner: Tensor) -> Tensor:
        return inner.abs()


class Dropping(Named, ActivationMethod):
    """Drop the smallest inputs of every layer, the same share of each."""

    capabilities = Capabilities(
        granularity=("activations",),
        calibration="forward",
        when="input-dependent",
        prompted=True,
        changes=(),
    )

    def calibrate(self, block: WalkedBlock, share: float) -> dict[str, Drop]:
        seen = block.observe(Quantiles)
        return {role: Drop(*each.threshold(share)) for role, each in seen.items()}

    def kept(self, block: Block, role: str, drop: Drop) -> Kept:
        return lambda x: x.abs() > drop.limit


CORRECT = (
    First,
    Drawing,
    Reading,
    Replacing,
    Steered,
    Trained,
    Gated,
    Messy,
    Rounding,
    Limited,
    Narrow,
    Fewer,
    Thin,
    Indexed,
    HalfNarrow,
    Shallow,
    Prompted,
    Dropping,
)
