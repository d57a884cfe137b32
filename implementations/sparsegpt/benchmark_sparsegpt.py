"""Benchmark the solver against Algorithm 1 as the paper states it; run by `make bench`."""

from __future__ import annotations

import statistics
import time

import torch
from rich.console import Console
from rich.table import Table

from implementations.harness import inverse_factor
from implementations.sparsegpt.sparsegpt import SparseGPT

SHAPES = ((576, 576), (1536, 576), (576, 1536), (2048, 2048))
REPEATS = 3


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
                theirs = config.algorithm_1(weight, factor, silent)
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
