"""Error of the MLPs' outputs after each round, on calibration and on other text; `make bench`.

Both texts are those of protocol `quick`, and the errors are means over all blocks.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from implementations.harness import load_model, walk
from implementations.harness.data.samples import Sampler
from implementations.harness.results.protocol import get_protocol
from implementations.sparsellm import SparseLLM
from implementations.sparsellm.mlp import MLP, Inputs

SETTINGS: tuple[dict[str, Any], ...] = ({"sparsity": 0.7}, {"sparsity": 0.8}, {"pattern": "2:4"})
ROUNDS = 4


@torch.no_grad()
def main() -> None:
    """Print the mean errors after each round and the number of blocks that gain."""
    table = Table(
        *("setting", "text", *(f"round {number + 1}" for number in range(ROUNDS))),
        *("blocks improved", "seconds"),
        title="SparseLLM on SmolLM2-135M: squared error of the MLPs' outputs, relative",
    )
    for setting in SETTINGS:
        model, start = load_model("smollm2-135m"), time.perf_counter()
        samples = Sampler(get_protocol("quick"), model).samples(0, ())
        texts = samples.calibration, samples.evaluations["ppl/wikipedia/512"]
        method = SparseLLM(rounds=ROUNDS, **setting)
        errors: tuple[list[tuple[float, ...]], ...] = [], []  # of each text, by block and round
        for block, other in zip(*(walk(model, text) for text in texts), strict=True):
            seen = other.observe(Inputs, "up", "down")
            unseen = MLP(other, seen["up"].batches, seen["down"].batches)
            mlp = method.first_round(block)
            rows = [(mlp.error(), unseen.error())]
            for _ in range(ROUNDS - 1):
                method.next_round(mlp)
                rows.append((mlp.error(), unseen.error()))
            for of_text, row in zip(errors, zip(*rows, strict=True), strict=True):
                of_text.append(row)
        seconds = time.perf_counter() - start
        for name, of_text in zip(("calibration", "other"), errors, strict=True):
            means = [f"{statistics.mean(each):.4f}" for each in zip(*of_text, strict=True)]
            improved = sum(row[-1] < row[0] for row in of_text)
            table.add_row(
                str(setting), name, *means, f"{improved} of {len(of_text)}", f"{seconds:.0f}"
            )
    Console().print(table)


if __name__ == "__main__":
    main()
