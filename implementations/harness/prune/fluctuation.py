"""What a layer loses with some of its inputs: how much they fluctuate, and their mean as a bias.

An input that is replaced by its average changes the output only as much as it fluctuates; the
average itself can be kept. Source: FLAP, An et al., arXiv:2312.11983.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from implementations.harness.model.surgery import add_bias
from implementations.harness.model.view import Block
from implementations.harness.prune.statistics import Moments


def fluctuation(variance: Tensor, weight: Tensor) -> Tensor:
    """Score input channels by their variance times the squared norm of their weights.

    `variance [in]`, `weight [out, in]`; the result is fp64 `[in]`.
    """
    return variance.to(weight.device) * weight.double().square().sum(dim=0)


def compensation(weight: Tensor, mean: Tensor, gone: Tensor) -> Tensor:
    """Return what the inputs marked in `gone [in]` add to the output on average, fp64 `[out]`.

    `weight [out, in]`, `mean [in]`: `W (gone * mean)`.
    """
    return weight.double() @ (mean.to(weight.device) * gone.to(weight.device))


def add_means(block: Block, seen: Mapping[str, Moments], groups: Tensor, channels: Tensor) -> None:
    """Add to the output biases of a block what some units put out on average, before they go.

    `groups [kv groups]` and `channels [channels]` mark them, boolean; `seen` are the moments of the
    inputs of `o` and `down`. A layer that loses nothing gets no bias.
    """
    attention, down = block.attention, block.feed_forward.down
    heads = groups.repeat_interleave(attention.group * attention.head_size)  # [o inputs]
    for linear, moments, gone in (
        (attention.o, seen["o"], heads),
        (down, seen["down"], channels),
    ):
        if gone.any():
            add_bias(linear, compensation(linear.weight, moments.mean, gone))
