"""Low-rank factors beside frozen weights (LoRA, Hu et al., arXiv:2106.09685), merged at the end.

with low_rank(model, rank=8) as factors:
    optimise(factors, ...)

Where a layer is whole, `peft` holds the factors. Merged into a layer with zeros their product would
fill these, so there the factors lie under the mask, `(W + s B A) * mask`, while they are trained.
"""

from __future__ import annotations

import importlib.util
import math
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from implementations.harness.errors import BadInput, Unavailable
from implementations.harness.model.view import LanguageModel, preserved, refuse_block_by_block


def check_low_rank(who: str) -> None:
    """Raise `Unavailable`, before any work, where `peft` is missing that `who` needs."""
    if importlib.util.find_spec("peft") is None:
        raise Unavailable(f"{who} needs peft: pip install 'pruning-atlas[train]'")


@contextmanager
def low_rank(
    model: LanguageModel, rank: int = 8, scale: float = 2.0, masked: bool = False
) -> Iterator[list[nn.Parameter]]:
    """Put factors beside the linear layers of all blocks and yield them; the rest is frozen.

    `scale` multiplies their product (alpha / r). With `masked`, weights that are zero stay zero.
    Gates belong inside the `with` block: from outside they miss the factors. At its end the product
    is added to the weights; where the block raises they are as they were. Raises `BadInput` for a
    rank below 1 and for a model that is worked on block by block, `Unavailable` without `peft`.
    """
    if rank < 1:
        raise BadInput(f"rank {rank} holds no factors: it must be at least 1")
    refuse_block_by_block(model, "low-rank training")
    whole, others = by_shape(model, masked)
    with preserved(model), ExitStack() as changes:
        model.hf.requires_grad_(False)
        if whole:  # first, because peft freezes all that it did not make
            changes.enter_context(beside_layers(model, whole, rank, scale))
        for linear in others:
            changes.enter_context(beside_weight(linear, rank, scale, masked))
        yield [p for p in model.hf.parameters() if p.requires_grad]


class Adapter(NamedTuple):
    """What a layer computes with inside `low_rank`: `weight + scale B A`, `[out, in]`."""

    weight: nn.Parameter
    """Frozen, `[out, in]`."""
    A: nn.Parameter
    """`[rank, in]`."""
    B: nn.Parameter
    """`[out, rank]`."""
    scale: float


def adapter(linear: nn.Module) -> Adapter:
    """Return what `low_rank` put beside a linear layer, as the model holds it meanwhile.

    Raises `BadInput` for a layer that has none: outside of `low_rank`, or with no weights left.
    """
    held: Any = linear
    if parametrize.is_parametrized(linear, "weight"):
        parts = held.parametrizations.weight
        return Adapter(parts.original, parts[0].A, parts[0].B, parts[0].scale)
    if not hasattr(linear, "lora_A"):
        raise BadInput(f"{linear} has no low-rank factors; ask inside of low_rank")
    (name,) = held.lora_A  # peft's for the one that is there
    return Adapter(
        held.weight, held.lora_A[name].weight, held.lora_B[name].weight, held.scaling[name]
    )


def by_shape(model: LanguageModel, masked: bool) -> tuple[list[str], list[nn.Linear]]:
    """Return the names of layers that `peft` can take, and the layers that it cannot.

    That is those with a mask and those that hold only some of their rows or columns. A layer of
    which nothing is left is among neither.
    """
    names = {module: name for name, module in model.hf.named_modules()}
    whole, others = [], []
    for _, _, linear in model.linears():
        dense = linear.weight.shape == (linear.out_features, linear.in_features)
        if linear.weight.numel() == 0:
            continue
        if dense and not masked:
            whole.append(names[linear])
        else:
            others.append(linear)
    return whole, others


class Factors(nn.Module):
    """What is added to a weight `[out, in]`: `s B A`, B `[out, rank]`, A `[rank, in]`."""

    mask: Tensor | None

    def __init__(self, weight: Tensor, rank: int, scale: float, masked: bool) -> None:
        super().__init__()
        out, entering = weight.shape
        like: Any = {"device": weight.device, "dtype": torch.float32}
        self.A = nn.Parameter(torch.empty(rank, entering, **like))
        self.B = nn.Parameter(torch.zeros(out, rank, **like))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))  # as peft does
        self.scale = scale
        self.register_buffer("mask", weight != 0 if masked else None)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight that the layer computes with."""
        moved = (weight + self.scale * (self.B @ self.A)).to(weight.dtype)
        return moved if self.mask is None else moved * self.mask


@contextmanager
def beside_weight(linear: nn.Linear, rank: int, scale: float, masked: bool) -> Iterator[None]:
    """Let a layer compute with factors under its mask; they are merged at the end."""
    factors = Factors(linear.weight, rank, scale, masked)
    parametrize.register_parametrization(linear, "weight", factors)
    done = False
    try:
        yield
        done = True
    finally:
        # In the place of the parameter that was there: whoever holds on to that one sees it too.
        parts: Any = linear.parametrizations
        original, merged = parts.weight.original, linear.weight.detach()
        parametrize.remove_parametrizations(linear, "weight", leave_parametrized=False)
        if done:
            original.data.copy_(merged)


@contextmanager
def beside_layers(
    model: LanguageModel, names: list[str], rank: int, scale: float
) -> Iterator[None]:
    """Let layers compute with factors of `peft`; they are merged at the end."""
    check_low_rank("low-rank training")
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=rank, lora_alpha=scale * rank, target_modules=names)  # type: ignore[arg-type]
    with warnings.catch_warnings():
        # peft still asks transformers for an attribute under its old name.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        held: Any = get_peft_model(model.hf, config)
    done = False
    try:
        yield
        done = True
    finally:
        held.merge_and_unload() if done else held.unload()
