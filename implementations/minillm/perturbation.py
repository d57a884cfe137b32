"""Move all weights of the decoder layers along a random direction, and restore them bit for bit.

No direction is stored: each layer's part of it is drawn again from the seed whenever it is needed.
No copy of the model is kept either: a block is shifted only while it runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from implementations.harness import ROLES, Block, LanguageModel, replaced_forward

BLOCKS = 2**20  # more than any model has, so no two layers share random numbers
# Torch's CPU generator uses only the lower 32 bits of a seed. So with 2^20 blocks, seeds that agree
# modulo 2^12 give the same direction.
DISTINCT = 2**12


def draw_seeds(count: int) -> list[int]:
    """Draw the seeds of `count` distinct directions, at most `DISTINCT`."""
    seeds: dict[int, int] = {}
    while len(seeds) < count:
        seed = int(torch.randint(2**31, ()))
        seeds.setdefault(seed % DISTINCT, seed)
    return list(seeds.values())


def direction(block: Block, role: str, seed: int) -> Tensor:
    """Draw a layer's part of the direction `z ~ N(0, I)` with this seed, fp32 `[out, in]`.

    The numbers depend only on the seed, the block and the role.
    """
    weight = block.linears()[role].weight
    generator = torch.Generator()  # of the CPU, so that every device has the same numbers
    generator.manual_seed((seed * BLOCKS + block.index) * len(ROLES) + ROLES.index(role))
    return torch.randn(weight.shape, generator=generator).to(weight.device)


@contextmanager
def perturbed(model: LanguageModel, seed: int, scale: float) -> Iterator[None]:
    """Context manager that runs every block with `W + scale z` in place of its linear weights.

    Whenever a block is not running, it has its own weights, also after an exception.
    """
    with ExitStack() as patches:
        for block in model.blocks:
            moved = partial(_moved, block, block.module.forward, seed, scale)
            patches.enter_context(replaced_forward(block.module, moved))
        yield


def _moved(block: Block, forward: Any, seed: int, scale: float, *args: Any, **kwargs: Any) -> Any:
    linears = block.linears()
    own = {role: linear.weight.data for role, linear in linears.items()}
    try:
        for role, linear in linears.items():
            shifted = torch.add(own[role], direction(block, role, seed), alpha=scale)
            linear.weight.data = shifted.to(own[role].dtype)
        return forward(*args, **kwargs)
    finally:
        for role, linear in linears.items():
            linear.weight.data = own[role]
