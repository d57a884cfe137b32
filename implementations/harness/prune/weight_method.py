"""Base class of methods that zero single weights, and masks with an exact number of weights."""

from __future__ import annotations

import math
import re
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import (
    BeforeValidator,
    PlainSerializer,
    model_validator,
)
from torch import Tensor

from implementations.harness.data.tokens import Tokens
from implementations.harness.errors import (
    BadInput,
    NumericsError,
    in_short,
)
from implementations.harness.model.view import LanguageModel
from implementations.harness.prune.allocation import apportion
from implementations.harness.prune.method import Method, Ratio

NUMBER = re.compile("[0-9]{1,9}")


class NM(NamedTuple):
    """An N:M pattern, which keeps `keep` weights of every aligned group of `group` inputs."""

    keep: int
    group: int

    @property
    def sparsity(self) -> float:
        """The sparsity of the pattern."""
        return 1 - self.keep / self.group

    def __str__(self) -> str:
        return f"{self.keep}:{self.group}"


def parse_pattern(value: object) -> NM:
    """Parse a pattern such as "2:4" (keep 2 of every 4); raises `ValueError` for other forms."""
    if isinstance(value, NM):
        return value
    numbers = str(value).split(":")
    if len(numbers) == 2 and all(NUMBER.fullmatch(n) for n in numbers):
        keep, group = map(int, numbers)
        if 1 <= keep <= group:
            return NM(keep, group)
    raise ValueError(
        f"pattern {in_short(value, 100)!r} is not KEEP:GROUP with 1 <= KEEP <= GROUP, such as 2:4, "
        "which keeps 2 of every 4"
    )


Pattern = Annotated[NM, BeforeValidator(parse_pattern), PlainSerializer(str, return_type=str)]


def smallest(scores: Tensor, count: int) -> Tensor:
    """Mark the `count` smallest scores of each row; ties go to the earlier position.

    `scores` is `[..., n]`, the result is boolean of the same shape with exactly `count` True
    along the last dimension. To compare over a whole matrix, flatten it first. Raises
    `BadInput` for a count outside `[0, n]` and `NumericsError` for NaN scores.
    """
    n = scores.shape[-1]
    if not 0 <= count <= n:
        raise BadInput(f"`count` must be between 0 and {n}, the number of scores, got {count}")
    if scores.isnan().any():
        raise NumericsError("scores contain NaN; check the weights and the calibration data")
    if count == 0:
        return torch.zeros_like(scores, dtype=torch.bool)
    if count == n:
        return torch.ones_like(scores, dtype=torch.bool)
    # Selecting the boundary value first is several times faster than a stable sort of a layer.
    boundary = scores.kthvalue(count, dim=-1, keepdim=True).values
    chosen = scores <= boundary
    if bool((chosen.sum(dim=-1) == count).all()):
        return chosen
    below = scores < boundary
    ties = chosen & ~below
    missing = count - below.sum(dim=-1, keepdim=True)
    return below | (ties & (ties.cumsum(dim=-1) <= missing))


def smallest_per_group(scores: Tensor, pattern: NM) -> Tensor:
    """Mark what an N:M pattern removes: all but the `keep` largest scores of each aligned group.

    `scores` is `[..., n]` with groups of `pattern.group` along the last dimension; the result is
    boolean of the same shape. Raises `BadInput` if the group does not divide `n`.
    """
    n = scores.shape[-1]
    if n % pattern.group:
        raise BadInput(f"pattern {pattern} needs a width divisible by {pattern.group}, got {n}")
    groups = scores.unflatten(-1, (n // pattern.group, pattern.group))  # [..., groups, group]
    return smallest(groups, pattern.group - pattern.keep).flatten(-2)


def smallest_of_layer(scores: Tensor, within: Literal["row", "matrix"], count: int) -> Tensor:
    """Mark the `count` smallest `scores [out, in]` of a layer, boolean `[out, in]`.

    Scores are compared `within` the whole matrix, or within a row: all rows then have equally many,
    and the remainder is taken from the rows with the lowest next scores. Raises `NumericsError` for
    NaN.
    """
    rows = scores if within == "row" else scores.reshape(1, -1)
    each, over = divmod(count, max(1, len(rows)))  # a removed part has no rows
    marked = smallest(rows, each)
    if over:
        following = rows.masked_fill(marked, math.inf).amin(dim=1)  # [rows]
        marked |= smallest(following, over)[:, None] & smallest(rows, each + 1)
    return marked.view_as(scores)


def share_of(sparsity: float, n: int) -> int:
    """Return `sparsity * n` rounded down: 7 for 0.7 of 10, 6 for 0.7 of 9."""
    return math.floor(sparsity * n + 1e-9)  # 0.29 * 100 must be 29 and not 28


class WeightMethod(Method):
    """A method that zeroes single weights, unstructured or in N:M patterns."""

    sparsity: Ratio = 0.5
    """Share of the weights to zero."""
    pattern: Pattern | None = None
    """Keep KEEP of every GROUP consecutive inputs of a row, as in `2:4`; replaces `sparsity`."""

    @model_validator(mode="after")
    def _sparsity_matches_pattern(self) -> WeightMethod:
        pattern, given = self.pattern, "sparsity" in self.model_fields_set
        if pattern and "semi-structured" not in self.capabilities.granularity:
            raise ValueError(
                f"pattern {pattern}: {self.slug()} does not support N:M patterns; leave it out"
            )
        if pattern and given and not math.isclose(self.sparsity, pattern.sparsity):
            raise ValueError(
                f"sparsity {self.sparsity} contradicts pattern {pattern}, which removes "
                f"{pattern.sparsity:g}; leave one of them out"
            )
        return self

    @property
    def target(self) -> float:
        """The requested sparsity, or that of the pattern."""
        return self.pattern.sparsity if self.pattern else self.sparsity

    @property
    def grouped(self) -> int:
        """Number of consecutive inputs of a row in a group; 1 without groups."""
        return self.pattern.group if self.pattern else 1

    def check(self, model: LanguageModel, calibration: Tokens | None) -> None:
        """Check also that the groups of a pattern divide all layers."""
        super().check(model, calibration)
        for block in model.blocks:
            for role, linear in block.linears().items():
                inputs = linear.weight.shape[1]
                if inputs % self.grouped:
                    raise BadInput(
                        f"pattern {self.pattern or f'N:{self.grouped}'} does not divide the "
                        f"{inputs} inputs of block {block.index}, {role}; choose a group that does"
                    )

    def check_block_size(self, block_size: int) -> None:
        """Raise `BadInput` unless the groups of a pattern divide a block of columns."""
        if block_size % self.grouped:
            raise BadInput(
                f"`block_size` must be divisible by the group size {self.grouped}, got {block_size}"
            )

    def choose(
        self,
        scores: Tensor,
        within: Literal["row", "matrix"] = "row",
        count: int | None = None,
    ) -> Tensor:
        """Mark the weights to remove: by the pattern, or else the lowest `scores [out, in]`.

        The result is boolean `[out, in]`. Scores are compared `within` a row or the whole matrix.
        The number of weights is rounded down, and ties go to the earlier position. `count` sets
        another number of weights for this layer; see `smallest_of_layer`. Raises `NumericsError`
        for NaN.
        """
        if self.pattern:
            return smallest_per_group(scores, self.pattern)
        if count is not None:
            return smallest_of_layer(scores, within, count)
        rows = scores if within == "row" else scores.reshape(1, -1)
        return smallest(rows, share_of(self.sparsity, rows.shape[-1])).view_as(scores)

    def counts(self, model: LanguageModel, shares: Tensor) -> list[dict[str, int]]:
        """Return the number of weights that every linear layer loses, `[blocks]` by role.

        Blocks lose in proportion to `shares [blocks]`, and all layers of a block equally. In total
        the requested sparsity is met; see `allocation.apportion`.
        """
        linears = [block.linears() for block in model.blocks]
        sizes = torch.tensor([x.weight.numel() for block in linears for x in block.values()])
        each = torch.as_tensor(shares).repeat_interleave(torch.tensor([len(b) for b in linears]))
        lost = iter(apportion(each, sizes, share_of(self.sparsity, int(sizes.sum()))).tolist())
        return [{role: next(lost) for role in block} for block in linears]
