"""The decision network of ATP: what it thinks of every pattern, and draws from that."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

OPEN = 3.0  # what is added to every logit, so that nearly all gates are open in the beginning
TEMPERATURE = 0.4


class DecisionNetwork(nn.Module):
    """A transformer over one fixed vector a block, and a linear layer for each kind of unit.

    `sizes [blocks][kinds]` counts the patterns of each block. The vectors are orthogonal where
    there are no more blocks than dimensions, and are never trained.
    """

    places: Tensor

    def __init__(self, sizes: Sequence[Sequence[int]], width: int = 64) -> None:
        super().__init__()
        self.register_buffer("places", nn.init.orthogonal_(torch.empty(len(sizes), width)))
        layer = nn.TransformerEncoderLayer(width, nhead=4, dim_feedforward=256, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, num_layers=2, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)
        self.kinds = len(sizes[0])
        self.heads = nn.ModuleList(nn.Linear(width, n, bias=False) for row in sizes for n in row)

    def forward(self) -> Tensor:
        """Return the logits of all patterns, block by block and kind by kind, `[patterns]`."""
        seen = self.norm(self.encoder(self.places[None]))[0]  # [blocks, width]
        rows = seen.repeat_interleave(self.kinds, dim=0)  # one for each vector of logits
        return torch.cat([head(row) for head, row in zip(self.heads, rows, strict=True)])


def soft_gates(logits: Tensor) -> Tensor:
    """Draw gates between 0 and 1 by Gumbel noise, any shape (Gumbel-sigmoid)."""
    noise = -torch.empty_like(logits).exponential_().log()
    return torch.sigmoid((logits + noise + OPEN) / TEMPERATURE)
