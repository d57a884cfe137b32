"""Benchmark the search against the plain loop that updates both matrices (`make bench`)."""

from __future__ import annotations

import statistics
import time

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from implementations.harness import damped_inverse, eliminate
from implementations.sobp.least_squares import cheapest_in_turn

OUT, WIDTH = 576, 1536  # down of SmolLM2-135M
REPEATS = 3


def plain(weight: Tensor, inverse: Tensor, units: Tensor, count: int) -> tuple[list[int], Tensor]:
    """Search by Optimal Brain Surgeon as published; correct weight and inverse after each removal.

    Both are fp64 and edited in place. Returns the numbers of the removed `units [units, width]` in
    order, and the cost of each.
    """
    order: list[int] = []
    paid: list[float] = []
    while len(order) < count:
        costs = torch.full((len(units),), torch.inf, dtype=torch.float64)
        for number, unit in enumerate(units):
            if number in order:
                continue
            if len(unit) == 1:
                costs[number] = weight[:, unit].square().sum() / inverse[unit, unit][0]
            else:
                own = torch.linalg.inv(inverse[unit][:, unit])
                costs[number] = torch.trace(weight[:, unit] @ own @ weight[:, unit].T)
        order.append(int(costs.argmin()))
        paid.append(float(costs.min()))
        eliminate(weight, inverse, units[order[-1]])
    return order, torch.tensor(paid, dtype=torch.float64)


def main() -> None:
    """Print the ratio of times, plain to ours, for several sets of candidates."""
    generator = torch.Generator().manual_seed(0)
    mixing = torch.eye(WIDTH) + torch.randn(WIDTH, WIDTH, generator=generator) / WIDTH**0.5
    inputs = (torch.randn(2 * WIDTH, WIDTH, generator=generator) @ mixing).double()
    hessian = inputs.T @ inputs
    weight = torch.randn(OUT, WIDTH, generator=generator).double()
    channels = torch.arange(WIDTH).view(-1, 1)
    settings = {
        "300 of 600 channels": (channels[:600], 300),
        "300 of all 1,536": (channels, 300),
        "4 of 8 heads": (channels.view(8, -1), 4),
    }
    table = Table("removed", "seconds", "median", "min", "max", "same units", title="SoBP")
    for name, (units, count) in settings.items():
        ratios, seconds, same = [], [], True
        for _ in range(REPEATS):
            inverse = damped_inverse(hessian, 0.01)
            start = time.perf_counter()
            order = cheapest_in_turn(weight, inverse, units, count)
            eliminate(weight.clone(), inverse.clone(), units[order].flatten())
            between = time.perf_counter()
            slow, _ = plain(weight.clone(), inverse, units, count)
            seconds.append(between - start)
            ratios.append((time.perf_counter() - between) / seconds[-1])
            same &= order.tolist() == slow
        figures = (f"{f(ratios):.1f}" for f in (statistics.median, min, max))
        taken = f"{statistics.median(seconds):.2f}"
        table.add_row(name, taken, *figures, "yes" if same else "no")
    Console().print(table)


if __name__ == "__main__":
    main()
