"""Masking: zero the weights of units where surgery would remove them."""

from __future__ import annotations

import torch

from implementations.harness.model.modeling_pruned import held_positions
from implementations.harness.model.surgery import Units, chosen
from implementations.harness.model.units import NAMES, Kind, cuts
from implementations.harness.model.view import Block


def mask_units(block: Block, kind: Kind, keep: Units) -> None:
    """Zero the weights of all units of one kind inside a block but `keep`, as in `keep_units`."""
    if kind == "sublayers":
        outputs = block.attention.o, block.feed_forward.down
        kept = chosen(keep, len(outputs), NAMES[kind]).tolist()
        for unit, linear in enumerate(outputs):
            if unit not in kept:
                for parameter in linear.parameters():
                    parameter.data.zero_()
        return
    parts = cuts(block, kind)
    kept = chosen(keep, len(parts[0].places), NAMES[kind])
    for linear, dim, places in parts:
        masked = torch.ones(linear.weight.shape[dim], dtype=torch.bool)
        masked[held_positions(linear, dim, places[kept].flatten()).cpu()] = False
        linear.weight.data.movedim(dim, 0)[masked] = 0
        if dim == 0 and linear.bias is not None:
            linear.bias.data[masked] = 0
