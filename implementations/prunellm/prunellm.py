"""Let LLM Tell What to Prune and How Much to Prune (Yang et al., ICML 2025), in its spirit.

What a module matters is how much the entropy of the last hidden state moves when it is skipped.
That says how much every block loses, and within a block how much its attention and its
feed-forward part; which units go follows their fluctuation, and their mean is kept as a bias. The
paper's own formulas are unknown to us: see the README for what is verified and what is ours.
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
    smallest,
    track,
    unit_costs,
    walk,
    widths,
    widths_left,
)

EPSILON = 1e-6  # added to a deviation before its logarithm: that of a dead feature is zero


class PruneLLM(UnitMethod):
    """Remove KV groups and channels, as many of each module as transfer entropy allows.

    Source: Yang et al., PMLR 267:70833-70849, known from summaries; a reconstruction.
    """

    capabilities = Capabilities(granularity=("kv-groups", "channels"), calibration="forward")
    small: ClassVar[dict[str, Any]] = {"probes": 2}

    sparsity: Ratio = 0.5
    """Share of the decoder blocks' linear weights to remove."""
    entropy: Literal["log", "std"] = "log"
    """Entropy of the last hidden state: sum of log deviations, or of the deviations."""
    temperature: Positive = 1.0
    """How evenly modules lose, tau: the larger, the more alike."""
    most: Ratio = 1.0
    """Share that a module loses at most, p_max; 1 lets it vanish."""
    compensate: bool = True
    """Add the mean contribution of what is removed to the output bias."""
    probes: Count = 128
    """Calibration windows that transfer entropy is measured on."""

    def prune(self, model: LanguageModel, calibration: Tokens) -> dict[str, Any]:
        """Measure the dense model, share the budget out, and cut the units that fluctuate least."""
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
        """Return how much entropy moves without a block's attention, feed-forward part, and both.

        `|H - H'| / d`, fp64 `[blocks, 3]`.
        """
        blocks, dense = len(model.blocks), self.last_entropy(model, text)
        moved = torch.zeros(blocks, 3, dtype=torch.float64)
        for index in track(range(blocks), "skipping modules"):
            for column, skipped in enumerate(([0], [1], [0, 1])):
                gone = torch.zeros(blocks, 2, dtype=torch.bool)
                gone[index, skipped] = True
                with masked(model, gone.flatten(), "sublayers"):
                    moved[index, column] = abs(dense - self.last_entropy(model, text))
        return moved / model.embedding.shape[1]

    def last_entropy(self, model: LanguageModel, text: Tokens) -> float:
        """Return the entropy of what the last block puts out, before the final norm."""
        seen = Moments(model.embedding.shape[1], device=model.accelerator)
        for block in walk(model, text, edits=False):
            if block.index == len(model.blocks) - 1:
                for _, y in block.run():
                    seen.update(y)
        return entropy(seen.variance, self.entropy)

    def lost(self, model: LanguageModel, transfer: Tensor) -> Tensor:
        """Count the KV groups and channels that every block loses, `[blocks, 2]`."""
        sizes = torch.stack([unit_costs(block, "sublayers") for block in model.blocks]).double()
        budget = self.sparsity * float(sizes.sum())
        of_blocks = shared(transfer[:, 2], sizes.sum(dim=1), budget, self.temperature, self.most)
        of_modules = torch.stack(
            [
                shared(parts, size, float(amount), self.temperature, self.most)
                for parts, size, amount in zip(transfer[:, :2], sizes, of_blocks, strict=True)
            ]
        )
        counts, costs = self.modules(model)
        # Rounding to whole groups is made up for by the channels, which come next.
        ratios = (of_modules / sizes.clamp(min=1)).flatten()
        return widths(counts[None], costs[None], ratios, budget)[0].view(-1, 2)

    def modules(self, model: LanguageModel) -> tuple[Tensor, Tensor]:
        """Return how many units each module has and what one costs, `[2 * blocks]`."""
        units = [unit_costs(block, kind) for block in model.blocks for kind in self.kinds]
        counts = torch.tensor([len(costs) for costs in units])
        return counts, torch.tensor([int(costs.max()) if len(costs) else 0 for costs in units])

    def cut(self, block: Block, seen: dict[str, Moments], groups: int, channels: int) -> None:
        """Remove the KV groups and channels of a block that fluctuate least."""
        attention, feed_forward = block.attention, block.feed_forward
        columns = fluctuation(attention.o, seen["o"])
        width = attention.group * attention.head_size  # inputs of o per KV group
        heads = smallest(columns.view(attention.kv_heads, width).mean(dim=1), groups)
        inner = smallest(fluctuation(feed_forward.down, seen["down"]), channels)
        if self.compensate:
            for linear, moments, gone in (
                (attention.o, seen["o"], heads.repeat_interleave(width)),
                (feed_forward.down, seen["down"], inner),
            ):
                if gone.any():  # a layer that loses nothing gets no bias
                    mean = moments.mean.to(linear.weight.device)
                    add_bias(linear, linear.weight.double() @ (mean * gone.to(mean.device)))
        keep_kv_groups(attention, ~heads)
        keep_channels(feed_forward, ~inner)

    def reach(self, model: LanguageModel) -> float:
        """Return the largest share: no module loses more than `most`."""
        return min(super().reach(model), self.most)


def fluctuation(linear: nn.Linear, seen: Moments) -> Tensor:
    """Return the variance of each input times the squared norm of its weights, fp64 `[in]`.

    Source: FLAP (An et al., arXiv:2312.11983), formula (1).
    """
    return seen.variance.to(linear.weight.device) * linear.weight.double().square().sum(dim=0)


def entropy(variance: Tensor, kind: Literal["log", "std"]) -> float:
    """Return the entropy of independent Gaussian features `[d]` up to a constant, in nats.

    `sum_j log(std_j + eps)`; as `std`, the sum of the deviations, which stands in for it.
    """
    deviation = variance.double().sqrt()
    return float((deviation + EPSILON).log().sum() if kind == "log" else deviation.sum())


def shared(
    transfer: Tensor, sizes: Tensor, budget: float, temperature: float, most: float
) -> Tensor:
    """Share `budget` weights out over modules of `sizes [n]`, fp64 `[n]`: less where more moves.

    `p = min(most, lambda exp(-t / tau))` of each, where t is the transfer entropy over its mean,
    and lambda meets the budget.
    """
    mean = transfer.mean()
    relative = transfer / mean if mean > 0 else torch.ones_like(transfer)
    return capped((-relative / temperature).exp() * sizes, budget, most * sizes)
