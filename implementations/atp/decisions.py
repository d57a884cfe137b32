"""The patterns of units that ATP decides on, and the network that decides which ones to keep."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from implementations.harness import (
    Cut,
    Kind,
    LanguageModel,
    adapter_parameters,
    cheapest,
    cuts,
    unit_costs,
)

KINDS: tuple[Kind, ...] = ("rotary-pairs", "value-dims", "channels")
OPEN = 3.0  # added to every logit, so that nearly all gates are open at the start
TEMPERATURE = 0.4


class DecisionNetwork(nn.Module):
    """A transformer over one fixed vector per block, with a linear layer for each kind of unit.

    `sizes [blocks][kinds]` holds the number of patterns in each block. The vectors are never
    trained. They are orthogonal if there are no more blocks than dimensions.
    """

    places: Tensor

    def __init__(self, sizes: Sequence[Sequence[int]], width: int = 64) -> None:
        super().__init__()
        self.register_buffer("places", nn.init.orthogonal_(torch.empty(len(sizes), width)))
        layer = nn.TransformerEncoderLayer(width, nhead=4, dim_feedforward=256, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, num_layers=2, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)
        self.kinds = len(sizes[0])
        self.heads = nn.ModuleList(nn.Linear(width, n, bias=False) for row in sizes for n in row)

    def forward(self) -> Tensor:
        """Return the logits of all patterns, by block and then by kind, `[patterns]`."""
        seen = self.norm(self.encoder(self.places[None]))[0]  # [blocks, width]
        rows = seen.repeat_interleave(self.kinds, dim=0)  # one row for each vector of logits
        return torch.cat([head(row) for head, row in zip(self.heads, rows, strict=True)])


def soft_gates(logits: Tensor) -> Tensor:
    """Draw gates between 0 and 1 with Gumbel noise (Gumbel-sigmoid); any shape."""
    noise = -torch.empty_like(logits).exponential_().log()
    return torch.sigmoid((logits + noise + OPEN) / TEMPERATURE)


def straight_through(shares: Tensor) -> Tensor:
    """Round `shares` in [0, 1] to 0 or 1; gradients pass as if there were no rounding."""
    return (shares >= 0.5).to(shares.dtype) + shares - shares.detach()


class Group(NamedTuple):
    """The patterns of one kind in one block; unit `u` belongs to pattern `u % size`."""

    kind: Kind
    size: int
    units: int
    cuts: list[Cut]


class Patterns:
    """All patterns of a model, by block and then by kind, `[patterns]`.

    A pattern is one of three kinds: a pair of dimensions that are rotated together, in every KV
    head of a block; a value dimension, in every KV head of a block; or an MLP channel.
    """

    def __init__(self, model: LanguageModel) -> None:
        self.groups: list[Group] = []
        costs = []
        for block in model.blocks:
            for kind in KINDS:
                each = unit_costs(block, kind)
                heads = 1 if kind == "channels" else max(block.attention.kv_heads, 1)
                self.groups.append(Group(kind, len(each) // heads, len(each), cuts(block, kind)))
                costs.append(each.view(heads, -1).sum(dim=0))
        self.costs = torch.cat(costs).to(model.device)
        """Number of weights removed with each pattern, `[patterns]`."""
        sizes = [group.size for group in self.groups]
        self.sizes = [sizes[i : i + len(KINDS)] for i in range(0, len(sizes), len(KINDS))]
        """Number of patterns in each block, `[blocks][kinds]`."""

    def parts(self, values: Tensor) -> list[Tensor]:
        """Split the values of all patterns into one tensor per group."""
        return list(values.split([group.size for group in self.groups]))

    def spread(self, values: Tensor) -> Tensor:
        """Return the gate of every unit's pattern, `[units]`.

        The gate of a channel acts on both of its branches, so it is squared in their product.
        """
        return torch.cat(
            [
                part.square()
                if group.kind == "channels"
                else part.repeat(group.units // max(group.size, 1))
                for group, part in zip(self.groups, self.parts(values), strict=True)
            ]
        )

    def units(self, removed: Tensor) -> Iterator[Tensor]:
        """Yield a mask of the units in the patterns `removed`, by block and then by kind."""
        for group, part in zip(self.groups, self.parts(removed), strict=True):
            yield part.repeat(group.units // max(group.size, 1))

    def shrink(self, model: LanguageModel, removed: Tensor, amount: float) -> float:
        """Shrink the factors of patterns `removed` towards zero; return the largest norm before.

        The factors of a pattern form one group over all matrices. Its norm `n` becomes
        `max(n - t, 0)`, where `t` is `amount` times the share that this kind and block has among
        all removed patterns.
        """
        held = {
            id(one.weight): one
            for one in map(adapter_parameters, (x for _, _, x in model.linears()))
        }
        largest, overall = 0.0, max(int(removed.sum()), 1)
        for group, off in zip(self.groups, self.parts(removed), strict=True):
            rows = []  # the factor entries of each unit, [units, width, rank]
            for linear, dim, places in group.cuts:
                factors = held[id(linear.weight)]
                rows.append((factors.B if dim == 0 else factors.A.T, places.to(removed.device)))
            squares = sum(table[places].square().sum(dim=(1, 2)) for table, places in rows)
            assert isinstance(squares, Tensor)
            norms = squares.view(-1, group.size).sum(dim=0).sqrt()  # [patterns]
            threshold = amount * int(off.sum()) / overall
            kept = ((norms - threshold).clamp(min=0) / norms.clamp(min=1e-30)).where(off, 1.0)
            largest = max(largest, float((norms * off).max()))
            for table, places in rows:
                factor = kept.repeat(group.units // max(group.size, 1))[:, None].expand_as(places)
                table[places.flatten()] *= factor.reshape(-1, 1)
        return largest


def decided(patterns: Patterns, logits: Tensor, share: float) -> Tensor:
    """Mark the patterns with the lowest logits up to a share of the weights, boolean `[patterns]`.

    Every block keeps the pattern with the highest logit of each kind.
    """
    firm = patterns.parts(logits.clone())
    for part in firm:
        if len(part):
            part[part.argmax()] = torch.inf
    return cheapest(torch.cat(firm), patterns.costs, share)


@contextmanager
def frozen_masked(patterns: Patterns, removed: Tensor) -> Iterator[None]:
    """Context manager that zeroes frozen weights' outputs at `removed`, but not the factors'."""
    with ExitStack() as changes:
        for group, off in zip(patterns.groups, patterns.parts(removed), strict=True):
            silent = off.repeat(group.units // max(group.size, 1))  # [units]
            for linear, dim, places in group.cuts:
                if dim == 0 and bool(off.any()):
                    rows = torch.zeros(linear.out_features, dtype=torch.bool, device=removed.device)
                    rows[places[silent.cpu()].flatten().to(removed.device)] = True
                    changes.callback(_silenced(linear, rows))
        yield


def _silenced(linear: nn.Linear, rows: Tensor) -> Any:
    """Hook the frozen layer, so that the output of its low-rank factors is not masked."""
    return linear.register_forward_hook(lambda _, __, output: output.masked_fill(rows, 0)).remove
