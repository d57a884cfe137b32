"""Let LLM Tell What to Prune and How Much to Prune (Yang et al., ICML 2025), in its spirit.

The importance of a module is the change of the entropy of the last hidden state when the module is
skipped. It sets how much every block loses, and how this is divided between attention and MLP. The
units that fluctuate least are removed, and their mean output is kept as a bias. We do not know the
paper's own formulas: see the README for what is verified and what is our choice.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from implementations.harness import (
    Block,
    Capabilities,
    Count,
    LanguageModel,
    Moments,
    Positive,
    Ratio,
    Tokens,
    UnitMethod,
    add_bias,
    capped,
    keep_channels,
    keep_kv_groups,
    masked,
    prefixes,
    smallest,
    track,
    unit_costs,
    walk,
    widths,
    widths_left,
)

EPSILON = 1e-6  # added to deviations before the logarithm: a dead feature has 0


class PruneLLM(UnitMethod):
    """Remove KV groups and MLP channels; the transfer entropy of a module sets how many.

    Source: Yang et al., PMLR 267:70833-70849, known from summaries; in the spirit of the paper.
    """

    capabilities = Capabilities(granularity=("kv-groups", "channels"), calibration="forward")
    tiny_settings: ClassVar[dict[str, Any]] = {"probes": 2}

    sparsity: Ratio = 0.5
    """Share of the weights of the decoder's linear layers to remove (s)."""
    entropy: Literal["log", "std"] = "log"
    """Entropy of the last hidden state: sum of log deviations (log) or of deviations (std)."""
    temperature: Positive = 1.0
    """Temperature of the allocation (tau): the larger, the more even the shares."""
    most: Ratio = 1.0
    """Largest share that a module may lose (p_max); at 1 it can be removed entirely."""
    compensate: bool = True
    """Whether to add the mean contribution of the removed units to the output bias."""
    probes: Count = 128
    """Number of calibration windows on which transfer entropy is measured."""

    def prune(self, model: LanguageModel, calibration: Tokens) -> dict[str, Any]:
        """Measure transfer entropy, allocate the budget, remove the units that fluctuate least."""
        text = calibration.pick(range(min(self.probes, len(calibration.ids))))
        transfer = self.transfer(model, text)
        seen: list[dict[str, Moments]] = []
        for dense in walk(model, calibration, edits=False):
            seen.append(dense.observe(Moments, "o", "down"))
        lost = self.lost(model, transfer).tolist()
        for block, moments, (groups, channels) in zip(model.visit(), seen, lost, strict=True):
            self.cut(block, moments, groups, channels)
        return widths_left(model) | {"transfer_entropy": transfer.tolist()}

    def transfer(self, model: LanguageModel, text: Tokens) -> Tensor:
        """Return the transfer entropy `|H - H'| / d` of each block, fp64 `[blocks, 3]`.

        The columns are without the attention, without the MLP, and without both.
        """
        blocks, dense = len(model.blocks), self.last_entropy(model, text)
        moved = torch.zeros(blocks, 3, dtype=torch.float64)
        for block, start_here in track(prefixes(model, text), "skipping modules", blocks):
            for column, skipped in enumerate(([0], [1], [0, 1])):
                removed = torch.zeros(blocks, 2, dtype=torch.bool)
                removed[block.index, skipped] = True
                with start_here(), masked(model, removed.flatten(), "sublayers"):
                    moved[block.index, column] = abs(dense - self.last_entropy(model, text))
        return moved / model.embedding.shape[1]

    def last_entropy(self, model: LanguageModel, text: Tokens) -> float:
        """Return the entropy of the output of the last block, before the final norm."""
        seen = Moments(model.embedding.shape[1], device=model.accelerator)
        for block in walk(model, text, edits=False):
            if block.index == len(model.blocks) - 1:
                for _, y in block.run():
                    seen.update(y)
        return entropy(seen.variance, self.entropy)

    def lost(self, model: LanguageModel, transfer: Tensor) -> Tensor:
        """Return how many KV groups and channels every block loses, `[blocks, 2]`."""
        sizes = torch.stack([unit_costs(block, "sublayers") for block in model.blocks]).double()
        budget = self.budget(model)
        of_blocks = divide_budget(
            transfer[:, 2], sizes.sum(dim=1), budget, self.temperature, self.most
        )
        of_modules = torch.stack(
            [
                divide_budget(parts, size, float(amount), self.temperature, self.most)
                for parts, size, amount in zip(transfer[:, :2], sizes, of_blocks, strict=True)
            ]
        )
        counts, costs = (both.T.flatten() for both in self.counts_and_costs(model))
        # The channels, which come next, compensate for rounding to whole groups.
        ratios = (of_modules / sizes.clamp(min=1)).flatten()
        return widths(counts[None], costs[None], ratios, budget)[0].view(-1, 2)

    def cut(self, block: Block, seen: dict[str, Moments], groups: int, channels: int) -> None:
        """Remove the KV groups and channels of a block that fluctuate least."""
        attention, feed_forward = block.attention, block.feed_forward
        columns = fluctuation(attention.o, seen["o"])
        width = attention.group * attention.head_size  # inputs of o per KV group
        heads = smallest(columns.view(attention.kv_heads, width).mean(dim=1), groups)
        inner = smallest(fluctuation(feed_forward.down, seen["down"]), channels)
        if self.compensate:
            for linear, moments, removed in (
                (attention.o, seen["o"], heads.repeat_interleave(width)),
                (feed_forward.down, seen["down"], inner),
            ):
                if removed.any():  # a layer that loses nothing gets no bias
                    mean = moments.mean.to(linear.weight.device)
                    add_bias(linear, linear.weight.double() @ (mean * removed.to(mean.device)))
        keep_kv_groups(attention, ~heads)
        keep_channels(feed_forward, ~inner)

    def max_sparsity(self, model: LanguageModel) -> float:
        """Return the largest possible sparsity: no module loses more than `most`."""
        return min(super().max_sparsity(model), self.most)


def fluctuation(linear: nn.Linear, seen: Moments) -> Tensor:
    """Return the variance of each input times the squared norm of its weights, fp64 `[in]`.

    Source: FLAP (An et al., arXiv:2312.11983), formula (1).
    """
    return seen.variance.to(linear.weight.device) * linear.weight.double().square().sum(dim=0)


def entropy(variance: Tensor, kind: Literal["log", "std"]) -> float:
    """Return the entropy of independent Gaussian features `[d]` up to a constant, in nats.

    `sum_j log(std_j + eps)`; with `kind="std"`, the sum of the deviations as a proxy.
    """
    deviation = variance.double().sqrt()
    return float((deviation + EPSILON).log().sum() if kind == "log" else deviation.sum())


def divide_budget(
    transfer: Tensor, sizes: Tensor, budget: float, temperature: float, most: float
) -> Tensor:
    """Divide a budget in weights among modules of `sizes [n]`; return amounts, fp64 `[n]`.

    Each loses the share `p = min(most, lambda exp(-t / tau))`, where t is its transfer entropy
    divided by the mean. Lambda is set so that the budget is met.
    """
    mean = transfer.mean()
    relative = transfer / mean if mean > 0 else torch.ones_like(transfer)
    return capped((-relative / temperature).exp() * sizes, budget, most * sizes)
