"""Rotate and narrow the residual stream, one half of a block after the other.

An RMS norm without a gain commutes with every rotation of its input. So once its gain is folded
into the layers after it, each half of a block may read the residual stream in one basis and write
it in another, with a matrix (a shortcut) on the skip connection. A basis is `[dense, width]`, fp64,
with orthonormal columns. Directions outside their span are lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor, nn

from implementations.harness.errors import BadInput
from implementations.harness.model.modeling_pruned import (
    narrow_embedding,
    narrow_norm,
    set_stream_matrix,
)
from implementations.harness.model.view import Block, LanguageModel
from implementations.harness.results.families import ONE_BASIS


@dataclass(frozen=True)
class Half:
    """The attention or the feed-forward part of a block, with its norm and its shortcut."""

    block: nn.Module
    norm: nn.Module
    readers: tuple[nn.Linear, ...]
    writer: nn.Linear
    shortcut: str
    """Name of the module on the skip connection."""

    def read(self, basis: Tensor) -> None:
        """Read the residual stream in `basis [dense, width]`, still write it in the dense basis."""
        dense, width = basis.shape
        gain = cast(Tensor, self.norm.weight).double()
        fold = gain[:, None] * basis.to(gain.device) * (dense / width) ** 0.5
        for linear in self.readers:
            set_weight(linear, linear.weight.double() @ fold)  # [out, width]
        narrow_norm(self.norm, width)
        # Back into the dense basis, [dense, width].
        set_stream_matrix(self.block, self.shortcut, basis)

    def write(self, basis: Tensor, read: Tensor) -> None:
        """Write the residual stream in `basis`, for a half that reads it in the basis `read`."""
        basis = basis.to(self.writer.weight.device)
        set_weight(self.writer, basis.T @ self.writer.weight.double())  # [width, in]
        if self.writer.bias is not None:
            self.writer.bias.data = (basis.T @ self.writer.bias.double()).to(self.writer.bias.dtype)
        between = basis.T @ read.to(basis.device)  # [width, width read]
        set_stream_matrix(self.block, self.shortcut, between)


def halves(block: Block) -> tuple[Half, Half]:
    """Return the attention and the feed-forward half of a block.

    Raises `BadInput`, with the reason, if the residual stream of the family cannot be rotated.
    """
    family = block.family.name
    if family in ONE_BASIS:
        raise BadInput(f"the residual stream of {family} cannot be rotated: {ONE_BASIS[family]}")
    attention, feed_forward = block.attention, block.feed_forward
    first, second = (block.module.get_submodule(path) for path in block.family.norms[:2])
    return (
        Half(
            block.module,
            first,
            (attention.q, attention.k, attention.v),
            attention.o,
            "attn_shortcut",
        ),
        Half(block.module, second, tuple(feed_forward.inner), feed_forward.down, "mlp_shortcut"),
    )


def rotate_embedding(model: LanguageModel, basis: Tensor) -> None:
    """Rotate the embedding into `basis`; untie a tied head first, so that it keeps its weight."""
    hf: Any = model.hf
    embedding, head = hf.get_input_embeddings(), hf.get_output_embeddings()
    if head is not None and head.weight is embedding.weight:
        head.weight = nn.Parameter(
            embedding.weight.detach().clone(), requires_grad=embedding.weight.requires_grad
        )
        model.config.tie_word_embeddings = False
    rotated = embedding.weight.double() @ basis.to(embedding.weight.device)  # [vocabulary, width]
    narrow_embedding(embedding, basis.shape[1])
    embedding.weight.data.copy_(rotated)


def set_weight(linear: nn.Linear, weight: Tensor) -> None:
    """Set the weight of a linear layer, of any shape; its `Parameter` and dtype stay the same."""
    linear.weight.data = weight.to(linear.weight.dtype)
    linear.weight.grad = None
    linear.out_features, linear.in_features = weight.shape
