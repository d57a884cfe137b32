"""Footprint of a model: parameters, non-zero ones, bytes and multiply-accumulates."""

from __future__ import annotations

import torch
from torch import nn

from implementations.harness.model.view import LanguageModel
from implementations.harness.results.record import Footprint


def footprint(model: LanguageModel, bits: float | None = None, unused: int = 0) -> Footprint:
    """Count the current parameters of `model` without running it.

    `bits` is the number of bits per weight of a method that quantises, `unused` the number of
    weights that stay in memory but take part in no multiplication.
    """
    parameters = list(model.hf.parameters())  # tied ones once
    linears = [module for module in model.hf.modules() if isinstance(module, nn.Linear)]
    indices = [buffer for linear in linears for buffer in linear.buffers()]  # of indexed layers
    return Footprint(
        parameters=sum(p.numel() for p in parameters),
        nonzero=sum(int(torch.count_nonzero(p)) for p in parameters),
        bytes=sum(tensor.nbytes for tensor in (*parameters, *indices)),
        macs=sum(linear.weight.numel() for linear in linears) - unused,
        bits=bits,
    )
