"""The patterns of units that ATP decides on, and the network that draws which of them stay."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from implementations.harness import Cut, Kind, LanguageModel, adapter, cheapest, cuts, unit_costs

KINDS: tuple[Kind, ...] = ("rotary-pairs", "value-dims", "channels")
OPEN = 3.0  # what is added to every logit, so that nearly all gates are open in the beginning
TEMPERATURE = 0.4


class DecisionNetwork(nn.Module):
    """A transformer over one fixed vector a block, and a linear layer for each kind of unit.

    `sizes [blocks][kinds]` counts the patterns of each block. The vectors are orthogonal where
    there are no more blocks than dimensions, and are never trained.
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
        """Return the logits of all patterns, block by block and kind by kind, `[patterns]`."""
        seen = self.norm(self.encoder(self.places[None]))[0]  # [blocks, width]
        rows = seen.repeat_interleave(self.kinds, dim=0)  # one for each vector of logits
        return torch.cat([head(row) for head, row in zip(self.heads, rows, strict=True)])


def soft_gates(logits: Tensor) -> Tensor:
    """Draw gates between 0 and 1 by Gumbel noise, any shape (Gumbel-sigmoid)."""
    noise = -torch.empty_like(logits).exponential_().log()
    return torch.sigmoid((logits + noise + OPEN) / TEMPERATURE)


def straight_through(shares: Tensor) -> Tensor:
    """Round `shares` in [0, 1] to 0 or 1; gradients pass as if they had not been rounded."""
    return (shares >= 0.5).to(shares.dtype) + shares - shares.detach()


class Group(NamedTuple):
    """The patterns of one kind in one block; a unit `u` is of pattern `u % size`."""

    kind: Kind
    size: int
    units: int
    cuts: list[Cut]


class Patterns:
    """All patterns of a model, block by block and kind by kind, `[patterns]`.

    A pattern is a pair of dimensions that are rotated together, or a dimension of values, of every
    KV head of a block; or a channel.
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
        """Weights that go with each pattern, `[patterns]`."""
        sizes = [group.size for group in self.groups]
        self.sizes = [sizes[i : i + len(KINDS)] for i in range(0, len(sizes), len(KINDS))]
        """Patterns of each block, `[blocks][kinds]`."""

    def parts(self, values: Tensor) -> list[Tensor]:
        """Cut values of all patterns into those of each group."""
        return list(values.split([group.size for group in self.groups]))

    def spread(self, values: Tensor) -> Tensor:
        """Give every unit the gate of its pattern, `[units]`.

        A channel's acts on its two branches, and so counts twice in their product.
        """
        return torch.cat(
            [
                part.square()
                if group.kind == "channels"
                else part.repeat(group.units // max(group.size, 1))
                for group, part in zip(self.groups, self.parts(values), strict=True)
            ]
        )

    def units(self, gone: Tensor) -> Iterator[Tensor]:
        """Mark the units that go with the patterns `gone`, kind by kind of each block."""
        for group, part in zip(self.groups, self.parts(gone), strict=True):
            yield part.repeat(group.units // max(group.size, 1))

    def shrink(self, model: LanguageModel, gone: Tensor, amount: float) -> float:
        """Pull the factors that the patterns `gone` would cut to zero; return the largest norm.

        Those of a pattern are one group over all matrices: its norm `n` becomes `max(n - t, 0)`,
        with `t` the `amount` times the share of all that goes which goes of this kind and block.
        """
        held = {id(one.weight): one for one in map(adapter, (x for _, _, x in model.linears()))}
        largest, overall = 0.0, max(int(gone.sum()), 1)
        for group, off in zip(self.groups, self.parts(gone), strict=True):
            rows = []  # what each unit has of the factors, [units, width, rank]
            for linear, dim, places in group.cuts:
                factors = held[id(linear.weight)]
                rows.append((factors.B if dim == 0 else factors.A.T, places.to(gone.device)))
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
    """Mark the patterns of lowest logit up to a share of their weights, `[patterns]`, boolean.

    The highest of each kind stays in every block.
    """
    firm = patterns.parts(logits.clone())
    for part in firm:
        if len(part):
            part[part.argmax()] = torch.inf
    return cheapest(torch.cat(firm), patterns.costs, share)


@contextmanager
def frozen_masked(patterns: Patterns, gone: Tensor) -> Iterator[None]:
    """Let the frozen weights put out nothing at the patterns `gone`, whatever factors add there."""
    with ExitStack() as changes:
        for group, off in zip(patterns.groups, patterns.parts(gone), strict=True):
            silent = off.repeat(group.units // max(group.size, 1))  # [units]
            for linear, dim, places in group.cuts:
                if dim == 0 and bool(off.any()):
                    rows = torch.zeros(linear.out_features, dtype=torch.bool, device=gone.device)
                    rows[places[silent.cpu()].flatten().to(gone.device)] = True
                    changes.callback(_silenced(linear, rows))
        yield


def _silenced(linear: nn.Linear, rows: Tensor) -> Any:
    """Hook the layer itself, which low-rank factors lie beside."""
    return linear.register_forward_hook(lambda _, __, output: output.masked_fill(rows, 0)).remove
