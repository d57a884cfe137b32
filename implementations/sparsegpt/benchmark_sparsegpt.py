"""Benchmark the solver against Algorithm 1 as the paper states it; run by `make bench`."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from implementations.harness import inverse_factor
from implementations.harness.runs.benchmarks import Benchmark, compare
from implementations.sparsegpt.sparsegpt import SparseGPT

SHAPES = ((576, 576), (1536, 576), (576, 1536), (2048, 2048))


def compared(config: SparseGPT, out: int, width: int, device: torch.device) -> dict[str, Any]:
    """Return the fields of a row for a random layer of shape `[out, width]`."""
    generator = torch.Generator().manual_seed(0)
    mixing = torch.eye(width) + torch.randn(width, width, generator=generator) / width**0.5
    inputs = torch.randn(2 * width, width, generator=generator) @ mixing
    weight = torch.randn(out, width, generator=generator).to(device)
    factor = inverse_factor((inputs.T @ inputs).to(device), 0.01)
    silent = torch.zeros(width, dtype=torch.bool, device=device)
    plain, fast = (partial(f, weight, factor, silent) for f in (config.algorithm_1, config.solve))
    agree = ((plain() == 0) == (fast() == 0)).float().mean()
    row = compare(plain, fast, device, "Algorithm 1 / solver")
    return row | {"note": f"{float(agree):.4%} of the mask agree"}


def main() -> None:
    """Print the ratio of times, plain to ours, by shape and pattern."""
    benchmark = Benchmark("SparseGPT", __doc__)
    for out, width in ((64, 96),) if benchmark.small else SHAPES:
        for config in (SparseGPT(), SparseGPT(pattern="2:4")):
            case = f"{out} x {width}, {config.pattern or f'{config.sparsity:.0%}'}"
            benchmark.row(case, partial(compared, config, out, width, benchmark.device))
    benchmark.show()


if __name__ == "__main__":
    main()
