"""What a model weighs: parameters, non-zero ones, bytes and multiply-accumulates."""

from __future__ import annotations

import torch
from torch import nn

from implementations.harness.model.view import LanguageModel
from implementations.harness.prune.method import Outcome
from implementations.harness.results.record import Footprint


def footprint(model: LanguageModel, outcome: Outcome | None = None) -> Footprint:
    """Count the parameters of `model` as they are now; nothing is run.

    The `outcome` of pruning adds what the tensors do not show: the bits per weight of a method that
    quantises, and weights that stay in memory and are not computed with.
    """
    parameters = list(model.hf.parameters())  # each object once, however often it is used
    linears = [module for module in model.hf.modules() if isinstance(module, nn.Linear)]
    places = [buffer for linear in linears for buffer in linear.buffers()]  # of indexed ones
    return Footprint(
        parameters=sum(p.numel() for p in parameters),
        nonzero=sum(int(torch.count_nonzero(p)) for p in parameters),
        bytes=sum(tensor.nbytes for tensor in (*parameters, *places)),
        macs=sum(linear.weight.numel() for linear in linears) - (outcome.unused if outcome else 0),
        bits=outcome.bits if outcome else None,
    )
