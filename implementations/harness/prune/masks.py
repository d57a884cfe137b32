"""Select weights to remove by their number instead of a threshold, to meet sparsities exactly."""

from __future__ import annotations

import math
import re
from typing import Annotated, NamedTuple

import torch
from pydantic import BeforeValidator, PlainSerializer
from torch import Tensor

from implementations.harness.errors import BadInput, NumericsError, in_short

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


def share_of(sparsity: float, n: int) -> int:
    """Return `sparsity * n` rounded down: 7 for 0.7 of 10, 6 for 0.7 of 9."""
    return math.floor(sparsity * n + 1e-9)  # 0.29 * 100 must be 29 and not 28
