"""Benchmark of products that read only some columns of a weight, on a CPU; run by `make bench`.

One action multiplies one token with every linear layer of the blocks of a random model, so that the
weights come from main memory, as in decoding. Both kinds of gather are compared with the dense
product: one that sums up the columns (`embedding_bag`, which methods use), and one that copies
them first (`index_select`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import linear

from implementations.harness.prune.activation_masks import gathered
from implementations.harness.runs.benchmarks import Benchmark, compare, random_model

SHARES = (0.25, 0.4, 0.5, 0.65, 0.8)

Layer = tuple[Tensor, Tensor, Tensor]
"""Weight `[out, in]`, its transpose, contiguous, and one token `[in]`."""


def layers_of(benchmark: Benchmark) -> list[Layer]:
    """Return the linear layers of a random model with random tokens."""
    weights = [x.weight for _, _, x in random_model(benchmark.shape, benchmark.device).linears()]
    return [(w, w.t().contiguous(), torch.randn(w.shape[1])) for w in weights]


def dense(layers: list[Layer]) -> None:
    """Multiply every token with all columns."""
    for weight, _, x in layers:
        linear(x, weight)


def sparse(layers: list[Layer], share: float, multiply: Callable[..., Tensor]) -> None:
    """Multiply the entries above the threshold of a normal distribution with their columns."""
    threshold = float(torch.special.ndtri(torch.tensor((1 + share) / 2)))
    for _, columns, x in layers:
        multiply(columns, x, (x.abs() > threshold).nonzero().view(-1))


def copied(columns: Tensor, x: Tensor, places: Tensor) -> Tensor:
    """Return the same as `gathered`, from a copy of the columns."""
    return columns.index_select(0, places).t().mv(x[places])


@torch.no_grad()
def main() -> None:
    """Measure and print every share."""
    benchmark = Benchmark("Columns of kept inputs, one token", __doc__)
    layers = layers_of(benchmark)
    for share in SHARES:
        for name, multiply in (("embedding_bag", gathered), ("index_select", copied)):
            action = partial(sparse, layers, share, multiply)
            timed = partial(
                compare, action, partial(dense, layers), benchmark.device, f"{name} / dense"
            )
            benchmark.row(f"{share:.0%} dropped, {name}", timed)
    benchmark.show()


if __name__ == "__main__":
    main()
