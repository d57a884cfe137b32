"""The gates of DISP-LLM: logits from a small recurrent network, and random draws from them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from implementations.harness import NumericsError

OPEN = 3.0  # added to every logit, so that nearly all gates are open at the start


class Logits(nn.Module):
    """The logits of all gates, from a network or as free parameters.

    `sizes [blocks][parts]` are the sizes of the vectors of each block. If `channels` is given, it
    is the index of the channels' part, and all other parts of all blocks share one vector.
    """

    def __init__(
        self, sizes: Sequence[Sequence[int]], hypernetwork: bool, channels: int | None
    ) -> None:
        super().__init__()
        widths = [size for row in sizes for size in row]
        self.order = list(range(len(widths)))
        """Index of the vector that each part uses."""
        if channels is not None:
            widths = [sizes[0][0], *(row[channels] for row in sizes)]
            parts = [(block, part) for block in range(len(sizes)) for part in range(len(sizes[0]))]
            self.order = [1 + block if part == channels else 0 for block, part in parts]
        numbers = [nn.Parameter(torch.zeros(width)) for width in widths]
        self.source = HyperNetwork(widths) if hypernetwork else nn.ParameterList(numbers)

    def own(self) -> list[Tensor]:
        """Return the vectors without the offset that keeps gates open at the start.

        Raises `NumericsError` for logits that are not finite.
        """
        vectors = self.source() if isinstance(self.source, HyperNetwork) else list(self.source)
        if not bool(torch.cat(vectors).isfinite().all()):
            raise NumericsError(
                "the logits of the gates are NaN or infinite; use a lower learning rate, or load "
                "the model in a wider dtype (--dtype float32)"
            )
        return vectors

    def draw(self, temperature: float) -> Tensor:
        """Draw all gates, `[units]`; parts that share a vector also share its draw."""
        vectors = self.own()
        drawn = reinmax(torch.cat(vectors) + OPEN, temperature).split([len(v) for v in vectors])
        return torch.cat([drawn[number] for number in self.order])


class HyperNetwork(nn.Module):
    """A bidirectional GRU over one random vector per gate vector, with a linear layer for each.

    Source: appendix A.3 and table 5 of the paper.
    """

    noise: Tensor

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("noise", torch.randn(len(widths), 1, 32))  # drawn once, never trained
        self.gru = nn.GRU(32, 64, bidirectional=True)
        self.norm = nn.LayerNorm(128)
        self.heads = nn.ModuleList(nn.Linear(128, width, bias=False) for width in widths)

    def forward(self) -> list[Tensor]:
        """Return one vector per width, each of that length."""
        seen, _ = self.gru(self.noise)  # [vectors, 1, 128]
        rows = gelu(self.norm(seen)).squeeze(1)
        return [head(row) for head, row in zip(self.heads, rows, strict=True)]


def reinmax(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Draw gates of 0 or 1, each 1 with probability `sigmoid(logit)`; any shape.

    The gradient is the second-order estimate of ReinMax (Liu et al., arXiv:2304.08612, algorithm 2)
    for two classes. Its expectation over the draw is the gradient of the expected loss if the loss
    is quadratic in a gate and the temperature is 1.
    """
    likely = torch.sigmoid(logits)
    drawn = torch.bernoulli(likely.detach())
    middle = (drawn + torch.sigmoid(logits / temperature)) / 2
    # The value of `middle`, with the gradient of a sigmoid at it.
    middle = torch.sigmoid((torch.logit(middle) - logits).detach() + logits)
    smooth = 2 * middle - likely / 2
    return smooth - smooth.detach() + drawn
