"""Benchmark of the solver against the plain loop over columns; run by `make bench`."""

from __future__ import annotations

import statistics
import time

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from implementations.harness import inverse_factor
from implementations.sparsegpt.sparsegpt import SparseGPT

SHAPES = ((576, 576), (1536, 576), (576, 1536), (2048, 2048))
REPEATS = 3


def plain(weight: Tensor, factor: Tensor, config: SparseGPT) -> Tensor:
    """Solve as the paper explains it: every error goes at once onto all columns to the right."""
    weight = weight.clone()
    removed = torch.zeros_like(weight, dtype=torch.bool)
    diagonal = factor.diagonal()
    step = config.pattern.group if config.pattern else config.block_size
    for j in range(weight.shape[1]):
        if j % step == 0:
            costs = (weight[:, j : j + step] / diagonal[j : j + step]).square()
            removed[:, j : j + step] = config.mask(costs)
        error = weight[:, j] * removed[:, j] / diagonal[j]
        weight[:, j:] -= torch.outer(error, factor[j, j:])
    return weight.masked_fill(removed, 0)


def main() -> None:
    """Print the ratio of times, plain to ours, by shape and pattern."""
    generator = torch.Generator().manual_seed(0)
    table = Table("out x in", "setting", "median", "min", "max", "same mask", title="SparseGPT")
    for out, width in SHAPES:
        mixing = torch.eye(width) + torch.randn(width, width, generator=generator) / width**0.5
        inputs = torch.randn(2 * width, width, generator=generator) @ mixing
        factor = inverse_factor(inputs.T @ inputs, 0.01)
        weight = torch.randn(out, width, generator=generator)
        silent = torch.zeros(width, dtype=torch.bool)
        for config in (SparseGPT(), SparseGPT(pattern="2:4")):
            ratios, ours, theirs = [], weight, weight
            for _ in range(REPEATS + 1):
                start = time.perf_counter()
                ours = config.solve(weight, factor, silent)
                between = time.perf_counter()
                theirs = plain(weight, factor, config)
                ratios.append((time.perf_counter() - between) / (between - start))
            agree = ((ours == 0) == (theirs == 0)).float().mean()
            table.add_row(
                f"{out} x {width}",
                str(config.pattern or f"{config.sparsity:.0%}"),
                *(f"{f(ratios[1:]):.1f}" for f in (statistics.median, min, max)),
                f"{float(agree):.4%}",
            )
    Console().print(table)


if __name__ == "__main__":
    main()
