"""SliceGPT: keep only the main principal axes of the residual stream (Ashkboos et al., 2024).

An RMS norm without a gain commutes with a rotation of its input. So every half of a block may use
its own basis, with a small matrix on the skip connection between two bases. Each basis consists of
the principal axes of the signal at that point. The axes with the least energy are deleted, and all
matrices that read or write the stream become smaller dense matrices.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from implementations.harness import (
    ONE_BASIS,
    Block,
    Capabilities,
    Count,
    Gram,
    LanguageModel,
    NumericsError,
    Ratio,
    Tokens,
    UnitMethod,
    WalkedBlock,
    block_weights,
    halves,
    rotate_embedding,
    walk,
    watched,
)


class SliceGPT(UnitMethod):
    """Delete the principal components of the residual stream with the least energy.

    Source: Ashkboos et al., arXiv:2401.15024, Sections 3 and 4, and the official code.
    """

    capabilities = Capabilities(
        granularity=("hidden",),
        calibration="forward",
        changes=("linears", "norms", "embedding"),
        refuses=ONE_BASIS,
    )

    sparsity: Ratio = 0.2
    """Share of the weights in the decoder's linear layers to remove, net of the added
    shortcuts."""
    multiple: Count = 8
    """Round the width of the residual stream to a multiple of this number."""

    def prune(self, model: LanguageModel, calibration: Tokens) -> dict[str, Any]:
        """Rotate and cut one half after the other on the already cut model; return the slicing."""
        dense, width = model.config.hidden_size, self.width(model)
        if width < dense:
            basis = principal_axes(embedding_gram(model, calibration), width, "the embedding")
            rotate_embedding(model, basis)
            for block in walk(model, calibration):
                basis = slice_block(block, basis, last=block.index == len(model.blocks) - 1)
        return {"width": width, "slicing": 1 - width / dense}

    def width(self, model: LanguageModel) -> int:
        """Return the width whose removed share is nearest to `sparsity`, the wider one of a tie."""
        left = weights_left(model, self.multiple)
        wanted = (1 - self.sparsity) * left[model.config.hidden_size]
        return min(left, key=lambda width: (abs(left[width] - wanted), -width))

    def largest_unit(self, model: LanguageModel) -> int:
        """Return the largest gap between two attainable numbers of weights."""
        left = sorted(weights_left(model, self.multiple).values())
        return max((more - less for less, more in pairwise(left)), default=0)

    def max_sparsity(self, model: LanguageModel) -> float:
        """Return the share of weights that is removed at the smallest width."""
        left = weights_left(model, self.multiple)
        return 1 - min(left.values()) / left[model.config.hidden_size]


def slice_block(block: WalkedBlock, basis: Tensor, last: bool) -> Tensor:
    """Rotate and cut a block whose input is in `basis [dense, width]`; return its output's basis.

    The last block keeps writing in the dense basis, which the final norm and the head read.
    """
    attention, feed_forward = halves(block)
    width = basis.shape[1]
    attention.read(basis)
    between = Gram(len(basis), block.boundary.accelerator, torch.float64)
    with watched(feed_forward.norm, between):
        for _ in block.run():
            pass
    middle = principal_axes(between, width, f"block {block.index}, between its halves")
    attention.write(middle, read=basis)
    feed_forward.read(middle)
    if last:
        return torch.eye(len(basis), dtype=torch.float64)
    behind = Gram(len(basis), block.boundary.accelerator, torch.float64)
    outputs = []
    for _, y in block.run():  # [batch, length, dense]
        behind.update(y)
        outputs.append(y.cpu())
    after = principal_axes(behind, width, f"block {block.index}, behind it")
    feed_forward.write(after, read=middle)
    for i, y in enumerate(outputs):  # the cut block's output, without running it
        block.carry(i, y @ after.to(y))
    return after


def principal_axes(gram: Gram, width: int, where: str) -> Tensor:
    """Return the eigenvectors of a Gram matrix with the largest eigenvalues, in descending order.

    The result is fp64 `[dense, width]`. The sign of each axis makes its largest entry positive.
    Raises `NumericsError`, which names the place `where`, if the signal is not finite.
    """
    if not gram.finite():
        raise NumericsError(
            f"{where}: calibration activations contain NaN or infinity; load the model in a wider "
            "dtype (--dtype float32) or check its weights"
        )
    axes: Tensor = torch.linalg.eigh(gram.matrix).eigenvectors  # by ascending eigenvalue
    axes = axes.flip(1)[:, :width]
    largest = axes.gather(0, axes.abs().argmax(dim=0, keepdim=True))  # [1, width]
    return axes * largest.sign()


def embedding_gram(model: LanguageModel, calibration: Tokens) -> Gram:
    """Return the Gram matrix of the embedded calibration tokens, fp64 `[dense, dense]`."""
    gram = Gram(model.embedding.shape[1], model.device, torch.float64)
    for ids in calibration.batches(1):
        gram.update(model.embedding[ids.to(model.device)])
    return gram


def weights_left(model: LanguageModel, multiple: int) -> dict[int, int]:
    """Return the number of linear weights in all blocks for each width, shortcuts included.

    The widths are the multiples of `multiple` below the dense width, and the dense width itself,
    which needs no shortcuts.
    """
    dense = model.config.hidden_size
    blocks = model.blocks
    left = {dense: sum(map(block_weights, blocks))}
    for width in range(multiple, dense, multiple):
        left[width] = sum(
            sliced_weights(block, width, dense if block is blocks[-1] else width)
            for block in blocks
        )
    return left


def sliced_weights(block: Block, width: int, after: int) -> int:
    """Count the linear weights of a block that reads `width` dimensions and outputs `after`."""
    linears = block.linears()
    o, down = linears.pop("o"), linears.pop("down")
    read = sum(linear.out_features for linear in linears.values())
    return (
        width * (read + o.in_features + width)  # q, k, v, gate, up; o; the first shortcut
        + after * (down.in_features + width)  # down; the second shortcut
    )
