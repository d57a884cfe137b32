"""Losses of sets of decoder layers on the windows of SLEB's search; run by `make bench`.

A greedy search need not find the best set. The sets are those that the methods removed from
SmolLM2-135M at 20 % under `smol`, as their records list them.
"""

from __future__ import annotations

import torch
from rich.console import Console
from rich.table import Table

from implementations.harness import load_model, masked, perplexity
from implementations.harness.data.samples import prepare_samples

SETS = {
    "ShortGPT": (12, 13, 14, 15, 17, 25),
    "SLEB, samples=2": (4, 5, 14, 17, 25, 26),
    "SLEB": (12, 13, 14, 17, 25, 26),
    "Deeper Layers": (13, 14, 15, 16, 17, 18),
}
SAMPLES = (2, 5)  # numbers of windows


def main() -> None:
    """Print the mean loss without each set on the first two and five calibration windows."""
    model = load_model("smollm2-135m")
    calibration = prepare_samples("smol", model).calibration
    table = Table("without the layers of", *(f"{count} windows" for count in SAMPLES))
    for name, removed in SETS.items():
        mask = torch.zeros(len(model.blocks), dtype=torch.bool)
        mask[list(removed)] = True
        with masked(model, mask, "blocks"):
            losses = [perplexity(model, calibration.pick(range(n))).loss for n in SAMPLES]
        table.add_row(name, *(f"{loss:.3f}" for loss in losses))
    Console().print(table)


if __name__ == "__main__":
    main()
