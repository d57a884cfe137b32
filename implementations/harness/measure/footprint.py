"""What a model weighs: parameters, non-zero ones, bytes and multiply-accumulates."""

from __future__ import annotations

import torch
from torch import nn

from implementations.harness.model.view import LanguageModel
from implementations.harness.results.record import Footprint


def footprint(model: LanguageModel, bits: float | None = None, unused: int = 0) -> Footprint:
    """Count the parameters of `model` as they are now; nothing is run.

    Give what the tensors do not show: the `bits` per weight of a method that quantises, and how
    many weights stay in memory `unused`.
    """
    parameters = list(model.hf.parameters())  # each object once, however often it is used
    linears = [module for module in model.hf.modules() if isinstance(module, nn.Linear)]
    places = [buffer for linear in linears for buffer in linear.buffers()]  # of indexed ones
    return Footprint(
        parameters=sum(p.numel() for p in parameters),
        nonzero=sum(int(torch.count_nonzero(p)) for p in parameters),
        bytes=sum(tensor.nbytes for tensor in (*parameters, *places)),
        macs=sum(linear.weight.numel() for linear in linears) - unused,
        bits=bits,
    )
