"""What a model weighs: parameters, non-zero ones, bytes and multiply-accumulates."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from implementations.harness.model.units import count_weights
from implementations.harness.model.view import LanguageModel


@dataclass(frozen=True)
class Footprint:
    """The size of a model; tied parameters count once, zeros count like any other number."""

    parameters: int
    nonzero: int
    bytes: int
    """Of the parameters in their dtypes, as a dense checkpoint stores them."""
    macs_per_token: int
    """Multiply-accumulates of the linear layers, those of the head included and zeros not left out.
    Attention scores are not in it: they add `2 * heads * head_size` a block for each token seen."""
    block_weights: int
    """Weights of the decoder blocks' linear layers, which budgets are counted in."""
    block_nonzero: int


def footprint(model: LanguageModel) -> Footprint:
    """Count the parameters of `model` as they are now; nothing is run."""
    parameters = list(model.hf.parameters())  # each object once, however often it is used
    linears = [module for module in model.hf.modules() if isinstance(module, nn.Linear)]
    weights = count_weights(model)
    return Footprint(
        parameters=sum(p.numel() for p in parameters),
        nonzero=sum(int(torch.count_nonzero(p)) for p in parameters),
        bytes=sum(p.numel() * p.element_size() for p in parameters),
        macs_per_token=sum(linear.weight.numel() for linear in linears),
        block_weights=weights.all,
        block_nonzero=weights.nonzero,
    )
