"""Benchmark of the ridge regression against a fit by gradient steps; run by `make bench`.

Both regress synthetic perplexities, in which the effects of units add up, on masks drawn as in
Bonsai. The second fit is of the kind that the official code uses: Adam with an L1 penalty over a
grid of settings.
"""

from __future__ import annotations

import itertools
import statistics
import time

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from implementations.bonsai.bonsai import kendall, perturbed, regressed, weakest

SEEDS = range(6)
SETTINGS = ((40, 200, 0.1, 1), (40, 60, 0.1, 1), (300, 200, 0.1, 1), (300, 200, 1.0, 10))
SLOWNESS, PENALTIES, BATCHES = (100, 10, 1, 0.1), (1e2, 1e-4, 0.0), (32, 64, 128)
EPOCHS, PATIENCE = 50, 10


def made_up(units: int, masks: int, noise: float, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the masks `[masks, units]`, their results, and the true value of each unit."""
    prior = torch.ones(2 * units, dtype=torch.float64)
    off = perturbed([prior], 0.25, masks // 2)
    x = (~off[:, weakest(prior, 0.25)]).double()
    worth = scale * torch.rand(units, dtype=torch.float64)
    y = -((1 - x) @ worth) + noise * torch.randn(masks, dtype=torch.float64)
    return x, y, worth


def stepped(
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    slow: float,
    penalty: float,
    size: int,
) -> tuple[Tensor, float]:
    """Fit by Adam until the ranking of the test masks stops improving; return beta and best tau."""
    x, y = train
    beta = torch.zeros(x.shape[1] + 1, dtype=torch.float64)  # the last is the intercept
    first, second = torch.zeros_like(beta), torch.zeros_like(beta)
    rate, best, best_beta, waited, halved, step = 1 / (x.shape[1] * slow), -1.0, beta, 0, 0, 0
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(y)).split(size):
            residual = x[rows] @ beta[:-1] + beta[-1] - y[rows]
            slope = torch.cat([x[rows].T @ residual, residual.sum()[None]]) * 2 / len(rows)
            slope[:-1] += penalty * beta[:-1].sign()
            step += 1
            first = 0.9 * first + 0.1 * slope
            second = 0.999 * second + 0.001 * slope.square()
            size_of_step = (second / (1 - 0.999**step)).sqrt() + 1e-8
            beta = beta - rate * first / (1 - 0.9**step) / size_of_step
        tau = kendall(test[0] @ beta[:-1], test[1])
        waited, halved = waited + 1, halved + 1
        if tau >= best:
            waited = 0
            halved = 0 if tau > best else halved
            best, best_beta = tau, beta
        if halved > 3:
            rate, halved = max(rate / 2, 1e-5), 0
        if waited >= PATIENCE:
            break
    return best_beta[:-1], best


def searched(x: Tensor, y: Tensor) -> Tensor:
    """Cross-validate each setting of the grid on five folds, then fit the best one on all masks."""
    x, y = x / (x.shape[1] + 1) ** 0.5, y - y.mean()
    folds = torch.randperm(len(y)).chunk(5)

    def tau(setting: tuple[float, float, int]) -> float:
        taus = []
        for fold in folds:
            rest = ~torch.isin(torch.arange(len(y)), fold)
            taus.append(stepped((x[rest], y[rest]), (x[fold], y[fold]), *setting)[1])
        return statistics.mean(taus)

    best = max(itertools.product(SLOWNESS, PENALTIES, BATCHES), key=tau)
    return stepped((x, y), (x, y), *best)[0]


def main() -> None:
    """Print Kendall's tau between coefficients and true values, and the seconds, over all seeds."""
    table = Table(
        *("units", "masks", "noise", "worth up to", "ridge", "Adam, L1, grid", "seconds"),
        title=f"Bonsai: mean (least to most) over {len(SEEDS)} seeds",
    )
    for units, masks, noise, scale in SETTINGS:
        taus: tuple[list[float], list[float]] = [], []
        seconds = [0.0, 0.0]
        for seed in SEEDS:
            torch.manual_seed(seed)
            x, y, worth = made_up(units, masks, noise, scale)
            for number, fit in enumerate((lambda x, y: regressed(x, y)[0], searched)):
                start = time.perf_counter()
                taus[number].append(kendall(fit(x, y), worth))
                seconds[number] += (time.perf_counter() - start) / len(SEEDS)
        figures = (f"{statistics.mean(t):.3f} ({min(t):.3f} to {max(t):.3f})" for t in taus)
        took = " / ".join(f"{each:.2f}" for each in seconds)
        table.add_row(str(units), str(masks), str(noise), str(scale), *figures, took)
    Console().print(table)


if __name__ == "__main__":
    main()
