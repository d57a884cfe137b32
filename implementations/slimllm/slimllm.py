"""SlimLLM: score heads and channels as wholes, then rescale the outputs (Guo et al., ICML 2025).

A head is scored by how much the pattern of the attention output changes without it, and a channel
by how far its output lies along the directions in which the output of the MLP varies. After
pruning, every output dimension is corrected by one scale and one offset. The blocks that rotate the
hidden state least lose the most.

The statistics of the outputs of `o` and `down` follow from the mean `m` and the covariance `C` of
their inputs: outputs `W x` have the mean `W m` and the covariance `W C W^T`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from implementations.harness import (
    Capabilities,
    ColumnNorm,
    FeedForward,
    LanguageModel,
    NonNegative,
    Ratio,
    Tokens,
    UnitMethod,
    WalkedBlock,
    add_bias,
    cosine_distance,
    keep_channels,
    keep_kv_groups,
    walk,
    widths_left,
)
from implementations.slimllm.covariance import Covariance


class SlimLLM(UnitMethod):
    """Remove KV groups and MLP channels by whole-unit scores, then fit the outputs by regression.

    Source: Guo et al., arXiv:2505.22689, and the official code.
    """

    capabilities = Capabilities(
        granularity=("kv-groups", "channels"), calibration="forward", parallel=True
    )
    least = 1

    sparsity: Ratio = 0.2
    """Share of the weights in the decoder's linear layers to remove."""
    layers: Ratio = 26 / 32
    """Share of the decoder layers that are pruned: those that rotate the hidden state least."""
    alpha: NonNegative = 10
    """How strongly the pruning ratios follow the decoder layers' cosine similarity (alpha)."""
    spared: Ratio = 0.01
    """Share of a decoder layer's channels to keep although their scores are the lowest."""
    regress: bool = True
    """Fit each output of `o` and `down` to its dense values, by a scale and an offset."""

    def prune(self, model: LanguageModel, calibration: Tokens) -> dict[str, Any]:
        """Choose the pruning ratios on the dense model, then prune block by block."""
        similarities, losses = [], []
        for dense in walk(model, calibration, edits=False):
            o, kv_heads = dense.attention.o, dense.attention.kv_heads
            with dense.watching(Covariance, "o") as inputs:
                similarities.append(1 - dense.token_mean(cosine_distance))
            losses.append(group_losses(shared_variance(o.weight, inputs["o"].matrix, kv_heads)))
        shares = self.shares(torch.tensor(similarities, dtype=torch.float64))
        lost = self.widths(model, shares, {"kv-groups": losses})
        for block in walk(model, calibration):
            groups, channels = lost[block.index]
            if groups:
                self.prune_attention(block, groups)
            if channels:
                self.prune_feed_forward(block, channels)
        return {"similarity": similarities, **widths_left(model)}

    def shares(self, similar: Tensor) -> Tensor:
        """Return the relative pruning ratios of the blocks, `[blocks]`, from cosine similarities.

        They are a softmax over the most similar blocks; the other blocks lose nothing.
        """
        count = max(1, round(self.layers * len(similar)))
        selected = similar.topk(count).indices
        shares = torch.zeros_like(similar)
        shares[selected] = torch.softmax(self.alpha * similar[selected], dim=0)
        return shares

    def prune_attention(self, block: WalkedBlock, count: int) -> None:
        """Remove `count` KV groups, chosen by similarity and improved by greedy swaps."""
        o = block.attention.o
        inputs = block.observe(Covariance, "o")["o"]
        shared = shared_variance(o.weight, inputs.matrix, block.attention.kv_heads)
        kept = sorted(greedy_swaps(shared, count))
        mask = torch.zeros(block.attention.kv_heads, dtype=torch.bool)
        mask[kept] = True
        self.correct(o, inputs, mask.repeat_interleave(o.in_features // len(mask)))
        keep_kv_groups(block.attention, mask)

    def prune_feed_forward(self, block: WalkedBlock, count: int) -> None:
        """Remove the `count` channels with the lowest scores, except the very lowest ones."""
        feed_forward = block.feed_forward
        reads = "up" if feed_forward.gate is None else "gate"
        with block.watching(ColumnNorm, reads) as norms:
            inputs = block.observe(Covariance, "down")["down"]
        scores = channel_scores(feed_forward, norms[reads].norms, inputs)
        spared = min(round(self.spared * len(scores)), len(scores) - count)
        order = scores.argsort(stable=True)
        keep = torch.ones(len(scores), dtype=torch.bool)
        keep[order[spared : spared + count].cpu()] = False
        self.correct(feed_forward.down, inputs, keep)
        keep_channels(feed_forward, keep)

    def correct(self, linear: nn.Linear, inputs: Covariance, keep: Tensor) -> None:
        """Scale and shift the output of the kept inputs, `keep [in]`, to that of all inputs."""
        if self.regress:
            scale, offset = regression(linear.weight, inputs, keep.to(linear.weight.device))
            linear.weight.copy_(linear.weight * scale[:, None])
            add_bias(linear, offset)


def shared_variance(weight: Tensor, covariance: Tensor, units: int) -> Tensor:
    """Return the covariances of the units' contributions to outputs, fp64 `[units, units, out]`.

    `weight [out, in]` reads `units` slices of equal width. Entry `[g, h, j]` is the covariance of
    the contributions of `g` and `h` to output `j`, for inputs of `covariance [in, in]`.
    """
    weight = weight.to(covariance.device).double()
    if units == 0:  # an earlier pruning left no KV group
        return weight.new_zeros(0, 0, len(weight))
    slices = weight.unflatten(1, (units, -1))  # [out, units, width]
    rows = covariance.unflatten(0, (units, -1))  # [units, width, in]
    return torch.stack(
        [
            ((slices[:, unit] @ rows[unit]) * weight).unflatten(1, (units, -1)).sum(dim=2).T
            for unit in range(units)
        ]
    )


def similarity(shared: Tensor, kept: list[int]) -> float:
    """Sum the absolute correlations between the outputs of the kept units and of all units.

    `shared [units, units, out]` comes from `shared_variance`; `kept` holds the kept units. An
    output that never varies adds nothing.
    """
    some = shared[kept]  # [kept, units, out]
    both, alone, everything = some.sum((0, 1)), some[:, kept].sum((0, 1)), shared.sum((0, 1))
    scale = (alone.clamp(min=0) * everything.clamp(min=0)).sqrt()
    return float((both.abs() / scale).nan_to_num(0, 0, 0).clamp(max=1).sum())


def greedy_swaps(shared: Tensor, count: int) -> list[int]:
    """Return the units to keep after removing `count`: drop the least important, then swap.

    Every dropped unit, the least important first, replaces the kept unit for which the swap raises
    the similarity most, if any does (Algorithm 1).
    """
    units = range(len(shared))
    missed = {u: similarity(shared, [v for v in units if v != u]) for u in units}
    order = sorted(units, key=lambda u: -missed[u])  # stable: ties go to the earlier
    dropped, kept = order[:count], order[count:]
    best = similarity(shared, kept)
    for candidate in dropped:
        tried = [[*kept[:i], candidate, *kept[i + 1 :]] for i in range(len(kept))]
        values = [similarity(shared, other) for other in tried]
        if values and max(values) > best:
            best = max(values)
            kept = tried[values.index(best)]
    return kept


def group_losses(shared: Tensor) -> Tensor:
    """Return by how much each further removed KV group lowers the similarity, fp64 `[units]`.

    `shared [units, units, out]` comes from `shared_variance`; `greedy_swaps` chooses the groups. A
    group counts at least as much as those removed before it, because it is removed after them.
    """
    left = [similarity(shared, greedy_swaps(shared, count)) for count in range(len(shared) + 1)]
    losses = -torch.tensor(left, dtype=torch.float64).diff()
    return losses.cummax(dim=0).values


def channel_scores(feed_forward: FeedForward, norms: Tensor, inputs: Covariance) -> Tensor:
    """Score channels by their input and output weights and activations, fp64 `[channels]`.

    `norms [hidden]` are the norms of the inputs of the MLP; `inputs` are statistics of the inputs
    of `down`. Columns of `down` are rotated to the principal axes of the output, and axes with
    larger variance count more.
    """
    down = feed_forward.down.weight.double()  # [hidden, channels]
    covariance = inputs.matrix
    size = (inputs.count * (covariance.diagonal() + inputs.mean.square())).sqrt()  # ||I_:,j||_2
    variances, axes = torch.linalg.eigh(down @ covariance @ down.T)
    weight = torch.sigmoid(variances.abs() / variances.abs().mean().clamp(min=1e-300))  # [hidden]
    scores: Tensor = size * (weight[:, None] * (axes.T @ down)).norm(dim=0)
    for linear in feed_forward.inner:
        scores += (linear.weight * norms).double().norm(dim=1)
    return scores


def regression(weight: Tensor, inputs: Covariance, keep: Tensor) -> tuple[Tensor, Tensor]:
    """Fit the output of the kept inputs to that of all: scale and offset, fp64 `[out]` each.

    `weight` is `[out, in]`; `keep [in]` marks the kept inputs. An output that no longer varies is
    only shifted.
    """
    everything = weight.to(inputs.mean.device).double()
    some = everything * keep
    product = some @ inputs.matrix
    variance = (product * some).sum(dim=1)
    together = (product * everything).sum(dim=1)
    scale = torch.where(variance > 1e-12 * together.abs().max(), together / variance, 1.0)
    return scale, everything @ inputs.mean - scale * (some @ inputs.mean)
