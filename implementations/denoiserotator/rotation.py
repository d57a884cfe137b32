"""Rotations of a decoder layer that do not change its function.

An RMS norm without a gain commutes with every rotation of its input, so a block may read and write
the residual stream in any basis. Attention only averages values, so every value head may have its
own basis as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from implementations.harness import Block

# The layers of a block by the input that they share.
INPUTS = (("q", "k", "v"), ("o",), ("gate", "up"), ("down",))
READERS = ("q", "k", "v", "gate", "up")
"""Layers that read the residual stream; o and down write it."""


@dataclass(frozen=True)
class Rotation:
    """Rotations of the residual stream and of the values of a block."""

    stream: Tensor
    """The basis of the residual stream, which becomes `x Q`; `[hidden, hidden]` (R1)."""
    heads: Tensor
    """The basis of each value head, `[kv heads, head size, head size]` (R2)."""

    @classmethod
    def of(cls, A: Tensor, B: Tensor) -> Rotation:
        """Return the orthogonal factors of `A [hidden, hidden]` and `B [kv heads, size, size]`."""
        return cls(torch.linalg.qr(A).Q, torch.linalg.qr(B).Q)

    def to(self, dtype: torch.dtype) -> Rotation:
        """Return the rotation in another dtype."""
        return Rotation(self.stream.to(dtype), self.heads.to(dtype))

    def weight(self, role: str, weight: Tensor) -> Tensor:
        """Return the rotated `weight [out, in]` of a layer, whose norm gain is folded in."""
        turned = weight @ self.stream if role in READERS else self.stream.T @ weight
        if role == "v":
            return self.values(turned.T).T  # R2^T W Q
        return self.values(turned) if role == "o" else turned  # Q^T W R2

    def bias(self, role: str, bias: Tensor) -> Tensor:
        """Return the rotated `bias [out]` of a layer."""
        if role in ("o", "down"):
            return bias @ self.stream
        return self.values(bias) if role == "v" else bias

    def diagonal(self, role: str, matrix: Tensor) -> Tensor:
        """Return the diagonal of `matrix [in, in]` in the rotated basis of a layer's inputs."""
        if role in READERS:
            return ((matrix @ self.stream) * self.stream).sum(dim=0)  # diag(Q^T M Q)
        if role == "o":
            return self.values(self.values(matrix).T).diagonal()  # diag(R2^T M R2)
        return matrix.diagonal()

    def values(self, vectors: Tensor) -> Tensor:
        """Rotate `vectors [..., heads * head size]`; the query heads of a KV group share a basis.

        The heads are either the value heads or the query heads.
        """
        groups = vectors.shape[-1] // max(1, self.heads.shape[0] * self.heads.shape[1])
        split = vectors.unflatten(-1, (len(self.heads), groups, self.heads.shape[1]))
        return torch.einsum("...kgi,kij->...kgj", split, self.heads).flatten(-3)


def fold_gains(block: Block) -> dict[str, Tensor]:
    """Move the gains of both norms into the layers that read them; return all weights, fp64."""
    linears = block.linears()
    weights = {role: linear.weight.double() for role, linear in linears.items()}
    for norm, roles in zip(block.norms.values(), (INPUTS[0], INPUTS[2]), strict=False):
        gain = cast(Tensor, norm.weight)
        for role in roles:
            weights[role] = weights[role] * gain.double()
            linears[role].weight.copy_(weights[role])
        gain.fill_(1)
    return weights


def merge(block: Block, rotation: Rotation, weights: dict[str, Tensor]) -> None:
    """Rotate the layers of a block in place, given its `weights` by role, fp64."""
    for role, linear in block.linears().items():
        linear.weight.copy_(rotation.weight(role, weights[role]))
        if linear.bias is not None:
            linear.bias.copy_(rotation.bias(role, linear.bias.double()))


def entropy(scores: Tensor, dim: int) -> Tensor:
    """Return the sum of the entropies of all rows (dim 1) or columns (dim 0) of `scores`.

    Each row or column of `scores [out, in]` is normalised to a sum of 1; one of zeros has none.
    """
    total = scores.sum(dim, keepdim=True)
    p = scores / total.where(total > 0, 1)
    # Clamped, because the gradient of p ln p is infinite at zero.
    return -(p * p.clamp(min=torch.finfo(p.dtype).tiny).log()).sum()  # - sum p ln p
