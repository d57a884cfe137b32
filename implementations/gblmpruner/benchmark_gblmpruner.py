"""How far the gradients of GBLM-Pruner change Wanda's mask of SmolLM2-135M; run by `make bench`.

The masks at 50 % are those of the dense model, under the protocol `quick`.
"""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from typing import Literal

import torch
from rich.console import Console

from implementations.gblmpruner.gblmpruner import GBLMPruner, scores
from implementations.harness import ColumnNorm, gradient_norms, load_model, norms_on_host, walk
from implementations.harness.data.samples import prepare_samples

Norm = Literal["l1", "l2"]
NORMS: tuple[Norm, ...] = ("l1", "l2")
VARIANTS: tuple[tuple[float, Norm], ...] = ((100, "l1"), (100, "l2"), (10_000, "l1"))


@torch.no_grad()
def main() -> None:
    """Print the share of the removed weights that Wanda keeps, and the size of the new term."""
    model, method = load_model("smollm2-135m"), GBLMPruner()
    calibration = prepare_samples("quick", model).calibration
    gradients = {n: norms_on_host(gradient_norms(model, calibration, n)) for n in NORMS}
    counts: Counter[str] = Counter()
    terms: dict[str, list[float]] = defaultdict(list)  # medians of a layer, by role
    for block in walk(model, calibration, edits=False):
        seen = block.observe(ColumnNorm)
        for role, linear in block.linears().items():
            W, norms = linear.weight, seen[role].norms / len(calibration.ids) ** 0.5  # [in]
            wanda = method.choose(scores(W, norms, torch.zeros_like(W)))
            counts["removed"] += int(wanda.sum())
            for alpha, norm in VARIANTS:
                G = alpha * gradients[norm][block.index][role]
                chosen = method.choose(scores(W, norms, G))
                counts[f"alpha={alpha:g}, norm={norm}"] += int((chosen & ~wanda).sum())
            G = method.alpha * gradients["l1"][block.index][role]
            terms[role].append(float((G / norms).median()))
            default = scores(W, norms, G)
            later = method.choose(default.flip(1)).flip(1)  # of tied weights, the later ones
            counts["later of tied weights"] += int((later & ~method.choose(default)).sum())
    console = Console()
    total = counts.pop("removed")
    for name, count in counts.items():
        console.print(f"{name}: {100 * count / total:.4f} % of the removed weights differ")
    for role, medians in terms.items():
        share = 100 * statistics.median(medians)
        console.print(f"{role}: the gradient term is {share:.1f} % of the other one")


if __name__ == "__main__":
    main()
