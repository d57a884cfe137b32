"""Compare the errors of the layers of a real block, pruned by ALPS and others (`make bench`)."""

from __future__ import annotations

import copy
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from implementations.harness import Gram, get_method, load_model, remove_blocks, walk
from implementations.harness.data.samples import Sampler
from implementations.harness.results.protocol import STREAMS, get_protocol

METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "Wanda": ("wanda", {}),
    "SparseGPT": ("sparsegpt", {}),
    "ADMM, Wanda's mask": ("admmpruning", {"choosing": 0}),
    "ADMM, full share": ("admmpruning", {"gradual": False}),
    "ADMM": ("admmpruning", {}),
    "ALPS": ("alps", {}),
    "ALPS, official rules": ("alps", {"schedule": "paper-code"}),
}
SETTINGS: dict[str, dict[str, Any]] = {
    "50 %": {"sparsity": 0.5},
    "70 %": {"sparsity": 0.7},
    "2:4": {"pattern": "2:4"},
}
ROLES = ("q", "o", "gate", "down")


def main() -> None:
    """Print `||X W^T - X W^^T||^2 / ||X W^T||^2` of layers of the first block."""
    dense = load_model("smollm2-135m")
    remove_blocks(dense, range(1, len(dense.blocks)))
    calibration = Sampler(get_protocol("quick"), dense).samples(0, STREAMS).calibration
    [seen] = [block.observe(Gram) for block in walk(dense, calibration, edits=False)]
    grams = {role: gram.matrix.double() for role, gram in seen.items()}

    def size(weight: torch.Tensor, role: str) -> float:
        return float((weight.double() @ grams[role] * weight).sum())

    table = Table("percent of the output", "layer", *METHODS, title="Error of a layer")
    for name, setting in SETTINGS.items():
        errors: dict[str, list[str]] = {role: [] for role in ROLES}
        for slug, options in METHODS.values():
            model = copy.deepcopy(dense)
            get_method(slug).configure(**setting, **options).apply(model, calibration)
            for role in ROLES:
                W, pruned = (m.blocks[0].linears()[role].weight.detach() for m in (dense, model))
                errors[role].append(f"{100 * size(W - pruned, role) / size(W, role):.3f}")
        for role in ROLES:
            table.add_row(name, role, *errors[role])
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
