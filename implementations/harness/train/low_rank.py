"""Low-rank factors of frozen weights (LoRA, Hu et al., arXiv:2106.09685), merged after training.

with low_rank(model, rank=8) as factors:
    optimise(factors, ...)

`peft` implements the factors of dense layers. In layers with zeros, merging would fill the zeros,
so there training uses `(W + s B A) * mask`.
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
from implementations.harness.model.view import LanguageModel, preserved, require_whole_model


def check_low_rank(user: str) -> None:
    """Raise `Unavailable` if `peft`, which `user` needs, is not installed."""
    if importlib.util.find_spec("peft") is None:
        raise Unavailable(f"{user} needs peft; install it: pip install 'pruning-atlas[train]'")


@contextmanager
def low_rank(
    model: LanguageModel, rank: int = 8, scale: float = 2.0, masked: bool = False
) -> Iterator[list[nn.Parameter]]:
    """Add factors to the linear layers of all blocks and yield them; everything else is frozen.

    `scale` multiplies the product of the factors (alpha / r). With `masked`, zero weights stay
    zero. `gated` must be entered inside the `with` block to include the factors. At the end of the
    block the product is added to the weights, unless an exception was raised. Raises `BadInput` for
    a rank below 1 and for a model that is moved to the accelerator block by block, `Unavailable`
    without `peft`.
    """
    if rank < 1:
        raise BadInput(f"`rank` must be at least 1, got {rank}")
    require_whole_model(model, "low-rank training")
    whole, others = by_shape(model, masked)
    with preserved(model), ExitStack() as changes:
        model.hf.requires_grad_(False)
        if whole:  # first, because peft freezes all other parameters
            changes.enter_context(beside_layers(model, whole, rank, scale))
        for linear in others:
            changes.enter_context(beside_weight(linear, rank, scale, masked))
        yield [p for p in model.hf.parameters() if p.requires_grad]


class Adapter(NamedTuple):
    """The parameters of a layer inside `low_rank`, which uses `weight + scale B A`, `[out, in]`."""

    weight: nn.Parameter
    """Frozen, `[out, in]`."""
    A: nn.Parameter
    """`[rank, in]`."""
    B: nn.Parameter
    """`[out, rank]`."""
    scale: float


def adapter_parameters(linear: nn.Module) -> Adapter:
    """Return the parameters that `low_rank` has given a linear layer.

    Raises `BadInput` for a layer without factors: outside of `low_rank`, or without weights.
    """
    held: Any = linear
    if parametrize.is_parametrized(linear, "weight"):
        parts = held.parametrizations.weight
        return Adapter(parts.original, parts[0].A, parts[0].B, parts[0].scale)
    if not hasattr(linear, "lora_A"):
        raise BadInput(
            f"{linear} has no low-rank factors; call `adapter_parameters` inside `low_rank`"
        )
    (name,) = held.lora_A  # peft's name of the only adapter
    return Adapter(
        held.weight, held.lora_A[name].weight, held.lora_B[name].weight, held.scaling[name]
    )


def by_shape(model: LanguageModel, masked: bool) -> tuple[list[str], list[nn.Linear]]:
    """Return the names of layers that `peft` supports, and the other layers.

    The others have a mask or hold only some of their rows or columns. Layers without weights are
    left out.
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
    """Factors that add `s B A` to a weight `[out, in]`, with B `[out, rank]` and A `[rank, in]`."""

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
        """Return the weight that the layer uses."""
        updated = (weight + self.scale * (self.B @ self.A)).to(weight.dtype)
        return updated if self.mask is None else updated * self.mask


@contextmanager
def beside_weight(linear: nn.Linear, rank: int, scale: float, masked: bool) -> Iterator[None]:
    """Add factors under a mask to a layer, and merge them at the end of the `with` block."""
    factors = Factors(linear.weight, rank, scale, masked)
    parametrize.register_parametrization(linear, "weight", factors)
    done = False
    try:
        yield
        done = True
    finally:
        # Change the original parameter in place, because others may refer to it.
        parts: Any = linear.parametrizations
        original, merged = parts.weight.original, linear.weight.detach()
        parametrize.remove_parametrizations(linear, "weight", leave_parametrized=False)
        if done:
            original.data.copy_(merged)


@contextmanager
def beside_layers(
    model: LanguageModel, names: list[str], rank: int, scale: float
) -> Iterator[None]:
    """Add factors to layers with `peft`, and merge them at the end of the `with` block."""
    check_low_rank("low-rank training")
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=rank, lora_alpha=scale * rank, target_modules=names)  # type: ignore[arg-type]
    with warnings.catch_warnings():
        # peft uses a deprecated attribute of transformers.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        held: Any = get_peft_model(model.hf, config)
    done = False
    try:
        yield
        done = True
    finally:
        held.merge_and_unload() if done else held.unload()
