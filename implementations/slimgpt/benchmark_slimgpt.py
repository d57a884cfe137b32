"""Benchmark the solver against the plain loop with a new inverse per step (`make bench`)."""

from __future__ import annotations

import statistics
import time

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from implementations.harness import damped_inverse
from implementations.slimgpt.slimgpt import group_sizes, remove

OUT, WIDTH = 576, 1536  # down of SmolLM2-135M
REPEATS = 3


def plain(weight: Tensor, hessian: Tensor, width: int, counts: list[int]) -> tuple[Tensor, Tensor]:
    """Remove units by Algorithm 1: one column after the other, with a new inverse at every step.

    `hessian [in, in]` is damped and positive definite. Returns the weight and a mask of kept units.
    """
    weight, hessian = weight.clone(), hessian.clone()
    columns = torch.arange(weight.shape[1]).view(-1, width)
    kept = torch.ones(len(columns), dtype=torch.bool)
    for count in counts:
        inverse = torch.linalg.inv(hessian)
        own = torch.stack([inverse[unit][:, unit] for unit in columns])  # [units, width, width]
        c = torch.linalg.cholesky(own).diagonal(dim1=1, dim2=2).flatten() ** 2  # [in]
        errors = (weight**2 / c).sum(dim=0).view(-1, width).sum(dim=1)
        order = errors.masked_fill(~kept, torch.inf).argsort(stable=True)
        removed = columns[order[:count]].flatten()
        first = columns[order].flatten()  # the columns to remove come first
        upper = torch.linalg.cholesky(inverse[first][:, first], upper=True)
        ordered = weight[:, first]
        for i in range(len(removed)):
            error = ordered[:, i] / upper[i, i]
            ordered[:, i:] -= torch.outer(error, upper[i, i:])
        weight[:, first] = ordered
        weight[:, removed] = 0
        hessian[removed] = 0
        hessian[:, removed] = 0
        hessian[removed, removed] = 1
        kept[order[:count]] = False
    return weight, kept


def main() -> None:
    """Print the ratio of times, plain to ours, for channels and for heads."""
    generator = torch.Generator().manual_seed(0)
    mixing = torch.eye(WIDTH) + torch.randn(WIDTH, WIDTH, generator=generator) / WIDTH**0.5
    inputs = (torch.randn(2 * WIDTH, WIDTH, generator=generator) @ mixing).double()
    hessian = inputs.T @ inputs
    hessian += 0.01 * hessian.diagonal().mean() * torch.eye(WIDTH)
    weight = torch.randn(OUT, WIDTH, generator=generator).double()
    silent = torch.zeros(WIDTH, dtype=torch.bool)
    settings = {
        "a quarter of the channels": (1, group_sizes(WIDTH // 4)),
        "4 of 8 heads": (WIDTH // 8, [1] * 4),
    }
    table = Table("removed", "steps", "median", "min", "max", "same units", title="SlimGPT")
    for name, (width, counts) in settings.items():
        ratios, same = [], True
        for _ in range(REPEATS):
            start = time.perf_counter()
            ours = weight.clone()
            stay = remove(ours, damped_inverse(hessian, 0), silent, width, counts)
            between = time.perf_counter()
            _, kept = plain(weight, hessian, width, counts)
            ratios.append((time.perf_counter() - between) / (between - start))
            same &= torch.equal(stay, kept)
        figures = (f"{f(ratios):.1f}" for f in (statistics.median, min, max))
        table.add_row(name, str(len(counts)), *figures, "yes" if same else "no")
    Console().print(table)


if __name__ == "__main__":
    main()
