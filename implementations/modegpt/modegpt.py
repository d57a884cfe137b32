"""MoDeGPT: shrink the inner dimensions of pairs of matrices (Lin et al., ICLR 2025).

A block has three pairs of matrices: up (with gate) and down, query and key, value and output. Each
pair has an inner dimension of its own, which can shrink without any change outside the pair. For
each pair, its output on calibration text is rebuilt with the least squared error: by a Nyström
approximation where a nonlinearity stands between the matrices, by a CR decomposition where a
rotation does, and by an SVD where nothing does. Blocks that change the hidden state least shrink
most.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from implementations.harness import (
    Attention,
    Block,
    Capabilities,
    Gram,
    LanguageModel,
    NonNegative,
    Positive,
    Ratio,
    Tokens,
    UnitMethod,
    WalkedBlock,
    add_bias,
    add_up,
    cosine_distance,
    damped_inverse,
    keep_refitted,
    keep_units,
    smallest,
    unit_costs,
    walk,
)

NORMED = "it normalises queries and keys, so that removing one dimension changes all others"
TINY = 1e-12  # smallest eigenvalue, relative to the mean of all


class MoDeGPT(UnitMethod):
    """Remove MLP channels and rotary pairs, and replace value and output by low-rank factors.

    Source: Lin et al., arXiv:2408.09632, Section 3, as others describe it.
    """

    capabilities = Capabilities(
        granularity=("rotary-pairs", "value-dims", "channels"),
        calibration="forward",
        parallel=True,
        refuses={
            "opt": "it does not rotate queries and keys, so it has no rotary pairs",
            "qwen3": NORMED,
            "gemma3": NORMED,
        },
    )
    least = 1

    sparsity: Ratio = 0.3
    """Share of the weights in the decoder's linear layers to remove (phi)."""
    temperature: Positive = 0.15
    """How evenly the decoder layers shrink (epsilon): a large value means equal shares for all."""
    ridge: Positive = 0.01
    """Ridge of the channels' leverage scores, as a fraction of the mean diagonal (lambda)."""
    damping: NonNegative = 0.01
    """Damping of the refit of `down` and of the SVD, as a fraction of the mean diagonal."""

    def prune(self, model: LanguageModel, calibration: Tokens) -> dict[str, Any]:
        """Measure the influence of the dense blocks, then shrink them; return influence and widths.

        The widths are the rotary pairs and value dimensions of each KV head, and the channels.
        """
        influence = []
        for dense in walk(model, calibration, edits=False):
            influence.append(dense.token_mean(cosine_distance))
        shares = layer_shares(torch.tensor(influence, dtype=torch.float64), self.temperature)
        dense_counts, _ = self.counts_and_costs(model)
        lost = self.widths(model, shares)
        for block in walk(model, calibration):
            with (
                block.watching(Gram, "v", "down") as grams,
                rotated_energies(block) as energies,
            ):
                for i, (_, y) in enumerate(block.run()):
                    block.carry(i, y)  # statistics of the dense model
            pairs, values, channels = lost[block.index]
            if pairs:
                scores = pair_scores(block.attention, *energies)
                keep_units(block, "rotary-pairs", ~smallest(scores, pairs).flatten())
            if values:
                size = block.attention.head_size
                shrink_values(block, grams["v"].matrix, size - values, self.damping)
            if channels:
                gram = grams["down"].matrix
                scores = leverage(gram, self.ridge, f"block {block.index}, down")
                keep = ~smallest(scores, channels)
                keep_refitted(block, "channels", keep, gram, self.damping)
        names = ("pairs", "values", "channels")
        left = (dense_counts - torch.tensor(lost).T).tolist()
        return {"influence": influence} | dict(zip(names, left, strict=True))

    def counts_and_costs(self, model: LanguageModel) -> tuple[Tensor, Tensor]:
        """Return the sizes of the inner dimensions and the weights of one step, `[3, blocks]` each.

        A step removes one rotary pair or value dimension from every KV head, or one channel.
        """
        counts, costs = [], []
        for block in model.blocks:
            heads = block.attention.kv_heads
            for kind in self.kinds:
                units = unit_costs(block, kind)
                together = 1 if kind == "channels" else max(heads, 1)
                counts.append(len(units) // together)
                costs.append(int(units.sum()) // max(counts[-1], 1))
        shape = (len(model.blocks), len(self.kinds))
        return torch.tensor(counts).view(shape).T, torch.tensor(costs).view(shape).T

    def costs(self, model: LanguageModel) -> Tensor:
        """Return the weights of every step, `[steps]`."""
        counts, costs = self.counts_and_costs(model)
        return costs.flatten().repeat_interleave(counts.flatten())


def layer_shares(influence: Tensor, temperature: float) -> Tensor:
    """Return the share of every block relative to the mean share, `[blocks]` (4).

    It is `L softmax(-b / epsilon)` for the Block Influence `b [blocks]`.
    """
    return len(influence) * torch.softmax(-influence / temperature, dim=0)


@contextmanager
def rotated_energies(block: WalkedBlock) -> Iterator[tuple[Tensor, Tensor]]:
    """Collect `diag C_Q [heads, head size]` and `diag C_K [kv heads, head size]`, fp32.

    These are the squares of queries and keys after the rotation, summed over all tokens that run
    through the block inside the `with` block.
    """
    attention = block.attention
    roles = attention.q, attention.k
    size = attention.head_size
    energies = tuple(
        torch.zeros(linear.out_features // size, size, device=linear.weight.device)
        for linear in roles
    )
    rotation: list[Tensor] = []

    def enter(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        rotation[:] = kwargs["position_embeddings"]

    def adder(energy: Tensor) -> Any:
        def add(_: nn.Module, args: tuple[Any, ...], out: Tensor) -> None:
            heads = out.float().unflatten(-1, (-1, size))  # [batch, length, heads, head size]
            energy.add_(rotated(heads, *rotation).square().sum(dim=(0, 1)))

        return add

    with ExitStack() as hooks:
        handle = attention.module.register_forward_pre_hook(enter, with_kwargs=True)
        hooks.callback(handle.remove)
        for linear, energy in zip(roles, energies, strict=True):
            hooks.callback(linear.register_forward_hook(adder(energy)).remove)
        yield energies[0], energies[1]
    add_up(*energies)


def rotated(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the pairs `(c, c + h)` of `heads [batch, length, heads, 2 h]` by their positions."""
    one, other = heads.chunk(2, dim=-1)
    return heads * cos[:, :, None] + torch.cat([-other, one], dim=-1) * sin[:, :, None]


def pair_scores(attention: Attention, queries: Tensor, keys: Tensor) -> Tensor:
    """Score the rotary pairs of every KV head from `diag C_Q` and `diag C_K`, `[kv heads, h]`.

    The columns of the symmetric root of `C` have the squared norms `C_ii`, so no root is needed.
    """
    q = queries.double().view(attention.kv_heads, -1, 2, attention.head_size // 2)
    k = keys.double().view(attention.kv_heads, 1, 2, attention.head_size // 2)
    return (q * k).sum(dim=(1, 2)).sqrt()


def leverage(gram: Tensor, ridge: float, where: str = "layer") -> Tensor:
    """Return the ridge leverage scores `diag(C (C + lambda I)^-1)` of `gram`, fp64 `[channels]`."""
    inverse = damped_inverse(gram, ridge, where)
    scores = 1 - ridge * gram.diagonal().double().mean() * inverse.diagonal()
    return scores.masked_fill(gram.diagonal() == 0, 0)


def shrink_values(block: Block, gram: Tensor, rank: int, damping: float) -> None:
    """Replace `v` and `o` by factors with `rank` dimensions per KV head (Type III).

    `gram [hidden, hidden]` is that of the inputs of `v`. Attention weights add up to 1, so the bias
    of `v` moves to `o`.
    """
    attention, size = block.attention, block.attention.head_size
    v, o, heads = attention.v, attention.o, attention.kv_heads
    C = gram.double() + damping * gram.diagonal().double().mean() * torch.eye(len(gram)).to(gram)
    W_v = v.weight.double().view(heads, size, -1)  # [kv heads, size, hidden]
    W_o = o.weight.double().view(len(o.weight), heads, -1, size)  # [hidden, kv heads, group, size]
    if v.bias is not None:
        add_bias(o, torch.einsum("dhgs,hs->d", W_o, v.bias.double().view(heads, size)))
        v.bias.zero_()
    for head in range(heads):
        outputs = W_o[:, head].flatten(end_dim=1)  # [hidden * group, size]
        inner, outer = factors(W_v[head] @ C @ W_v[head].T, outputs.T @ outputs, rank)
        W_v[head, :rank] = inner @ W_v[head]
        W_o[:, head, :, :rank] = W_o[:, head] @ outer
    v.weight.copy_(W_v.view(v.weight.shape))
    o.weight.copy_(W_o.reshape(o.weight.shape))
    keep = torch.arange(size) < rank
    keep_units(block, "value-dims", keep.repeat(heads))


def factors(moments: Tensor, outputs: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Return `A [rank, n]` and `B [n, rank]` with the least `sum ||O (v - B A v)||^2`.

    `moments [n, n]` is the sum of `v v^T` over the tokens and `outputs [n, n]` is `O^T O`. With
    `moments = R^T R`, the rank-`k` part of the SVD of `R O^T` gives both.
    """
    values, axes = torch.linalg.eigh(moments)
    values = (values / values.mean().clamp(min=TINY)).clamp(min=TINY)  # v keeps its scale
    root, inverse = axes * values.sqrt(), axes / values.sqrt()  # R^T and R^-1, [n, n]
    principal = torch.linalg.eigh(root.T @ outputs @ root).eigenvectors.flip(1)[:, :rank]
    return principal.T @ inverse.T, root @ principal
