"""How far the masks of formulas differ from the released one's on SmolLM2-135M (`make bench`).

The masks at 50 % are those of the dense model and its gradients, under the protocol `quick`.
"""

from __future__ import annotations

from collections import Counter
from typing import Literal

import torch
from rich.console import Console

from implementations.harness import ColumnNorm, gradient_norms, load_model, norms_on_host, walk
from implementations.harness.data.samples import prepare_samples
from implementations.prunerzero.formula import parse_formula
from implementations.prunerzero.prunerzero import RELEASED, PrunerZero

Norm = Literal["l1", "l2"]
NORMS: tuple[Norm, ...] = ("l1", "l2")
VARIANTS: dict[str, tuple[str, Norm]] = {
    "Wanda": ("mul(W, sqrt(X))", "l2"),
    "magnitude within rows": ("W", "l2"),
    "the minimum is not subtracted": ("mul(abs(mul(W, W)), G)", "l2"),
    "norm=l1": (RELEASED, "l1"),
}


@torch.no_grad()
def main() -> None:
    """Print the share of the weights removed by the released formula that others keep."""
    model, method = load_model("smollm2-135m"), PrunerZero()
    calibration = prepare_samples("quick", model).calibration
    gradients = {n: norms_on_host(gradient_norms(model, calibration, n)) for n in NORMS}
    counts: Counter[str] = Counter()
    for block in walk(model, calibration, edits=False):
        seen = block.observe(ColumnNorm)
        for role, linear in block.linears().items():
            values = {
                "W": linear.weight.abs().float(),
                "X": seen[role].sums[None] / len(calibration.ids),
            }
            by_norm = {n: values | {"G": gradients[n][block.index][role]} for n in NORMS}
            released = parse_formula(RELEASED)(by_norm["l2"])
            removed = method.choose(released)
            counts["removed"] += int(removed.sum())
            for name, (formula, norm) in VARIANTS.items():
                other = method.choose(parse_formula(formula)(by_norm[norm]))
                counts[name] += int((removed & ~other).sum())
            later = method.choose(released.flip(1)).flip(1)
            counts["later of tied weights"] += int((removed & ~later).sum())
    console = Console()
    total = counts.pop("removed")
    for name, count in counts.items():
        console.print(f"{name}: {100 * count / total:.4f} % of the removed weights differ")


if __name__ == "__main__":
    main()
