"""Zero small activations while a model runs: quantiles, masks, and products that skip columns."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding_bag

from implementations.harness.prune.acting import Position
from implementations.harness.prune.parallel import add_up

Kept = Callable[[Tensor], Tensor]
"""Marks the entries of activations `[..., width]` that are kept, boolean of the same shape."""


class Quantiles:
    """Quantiles of the absolute values of all of a layer's inputs.

    They are counted in bins. The width of a bin is at most 2^-9 of its lower end. The bits of a
    float that is not negative, read as a whole number, grow with it, so the upper bits are the
    number of the bin.
    """

    DROPPED = 14
    """Lower bits that do not count."""
    BINS = 2 ** (31 - DROPPED)
    INFINITE = 0x7F800000 >> DROPPED
    """Bin of infinity; those above hold NaN."""

    def __init__(self, features: int, device: torch.device | str = "cpu") -> None:
        self.counts = torch.zeros(self.BINS, dtype=torch.int64, device=device)

    def update(self, x: Tensor) -> None:
        """Add the tokens `x [..., features]`."""
        bits = x.float().abs().flatten().view(torch.int32)
        self.counts += (bits >> self.DROPPED).bincount(minlength=self.BINS)

    def finite(self) -> bool:
        """Return whether all inputs were finite."""
        return not bool(self.counts[self.INFINITE :].any())

    def reduce(self) -> None:
        """Include the inputs of the other processes."""
        add_up(self.counts)

    def threshold(self, share: float) -> tuple[float, float]:
        """Return the value at or below which `share` of the entries lie, and their exact share.

        A share of 0 gives 0, and a share of 1 gives infinity.
        """
        total = int(self._below[-1])
        if not total or share <= 0:
            return 0.0, 0.0
        if share >= 1:
            return math.inf, 1.0
        wanted = math.ceil(share * total - 1e-6)
        place = int(torch.searchsorted(self._below, wanted))
        last = torch.tensor(((place + 1) << self.DROPPED) - 1, dtype=torch.int32)
        return float(last.view(torch.float32)), int(self._below[place]) / total

    @cached_property
    def _below(self) -> Tensor:
        """Number of entries up to the end of each bin, `[bins]`; read after all updates."""
        return self.counts.cumsum(dim=0).cpu()


class Masker:
    """Zeroes activations of one block at the positions after the prompt, and counts them."""

    def __init__(self, position: Position, counts: dict[str, list[int]]) -> None:
        """`counts` holds the dropped and all entries of each layer, by role."""
        self.position, self.counts = position, counts

    @property
    def single(self) -> bool:
        """Whether this pass is one token after the prompt."""
        return self.position.shape == (1, 1) and not self.position.chosen

    def masked(self, kept: Kept, x: Tensor, *roles: str) -> Tensor:
        """Return `x [..., width]` without its dropped entries, which count for the layers `roles`.

        `x` has one row for each token of the pass, in any number of dimensions.
        """
        first = self.position.chosen
        tokens = x.view(*self.position.shape, x.shape[-1])  # [samples, tokens, width]
        if first == tokens.shape[1]:
            return x
        dropped = ~kept(tokens[:, first:])
        self.count(int(dropped.sum()), dropped.numel(), *roles)
        after = tokens[:, first:].masked_fill(dropped, 0)
        return torch.cat([tokens[:, :first], after], dim=1).view_as(x)

    def places(self, kept: Kept, x: Tensor, *roles: str) -> Tensor:
        """Return the indices of the kept entries of a single token `x [..., width]`, `[kept]`."""
        places = kept(x).view(-1).nonzero().view(-1)
        self.count(x.numel() - len(places), x.numel(), *roles)
        return places

    def count(self, dropped: int, every: int, *roles: str) -> None:
        """Add dropped and all entries to the counts of layers."""
        for role in roles:
            counts = self.counts.setdefault(role, [0, 0])
            counts[0] += dropped
            counts[1] += every


class MaskedLinear:
    """The forward pass of a linear layer that drops inputs after the prompt.

    On a CPU, a single token reads only the columns of its kept inputs, from a transposed copy of
    the weight, in which they are contiguous.
    """

    def __init__(self, linear: nn.Linear, kept: Kept, masker: Masker, *roles: str) -> None:
        """Dropped inputs count for the layers `roles`; without roles, they are zero already."""
        self.dense, self.bias = linear.forward, linear.bias
        self.roles, self.kept, self.masker = roles, kept, masker
        gathers = linear.weight.device.type == "cpu" and type(linear) is nn.Linear
        self.columns = linear.weight.t().contiguous() if gathers else None  # [in, out]

    def __call__(self, x: Tensor) -> Tensor:
        """Return the output `[..., out]` for `x [..., in]`."""
        if self.columns is None or not self.masker.single:
            return self.dense(self.masker.masked(self.kept, x, *self.roles) if self.roles else x)
        places = self.masker.places(self.kept, x, *self.roles)
        y = gathered(self.columns, x.view(-1), places)
        return (y if self.bias is None else y + self.bias).view(*x.shape[:-1], -1)


def gathered(columns: Tensor, x: Tensor, places: Tensor) -> Tensor:
    """Return `sum_j x_j columns_j` over the `places` j, `[out]`, for `columns [in, out]`, `x [in]`.

    Each thread sums up a part of the places.
    """
    bags = torch.get_num_threads()
    starts = torch.tensor([len(places) * i // bags for i in range(bags)])
    kept = x.index_select(0, places)
    parts = embedding_bag(places, columns, starts, mode="sum", per_sample_weights=kept)
    return parts.sum(dim=0) if bags > 1 else parts[0]
