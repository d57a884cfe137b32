"""Benchmark of the parts of PBS2P by the output error of four real blocks; run by `make bench`.

The error is the relative squared error of the blocks' output on text outside the calibration set.
"""

from __future__ import annotations

import copy
import time
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from implementations.harness import LanguageModel, load_model, remove_blocks
from implementations.harness.data.samples import Sampler
from implementations.harness.results.protocol import get_protocol
from implementations.pbs2p import PBS2P

BLOCKS = 4
VARIANTS: dict[str, dict[str, Any] | None] = {
    "default, 4:8": {},
    "15 fits per step": {"alternations": 15},
    "new signs after every step": {"refresh": True},
    "one-shot": {"stepwise": False},
    "no fit": {"alternations": 0},
    "one-shot and no fit": {"stepwise": False, "alternations": 0},
    "OBS score": {"score": "obs"},
    "OBS with squared denominator": {"score": "obs-squared"},
    "the same and no fit": {"score": "obs-squared", "alternations": 0},
    "no compensation in later columns": {"compensate": False},
    "5:8": {"pattern": "5:8"},
    "6:8": {"pattern": "6:8"},
    "N by importance, mean 4 of 8": {"pattern": None, "sparsity": 0.5},
    "N by importance, mean 6 of 8": {"pattern": None, "sparsity": 0.25},
    "binarised only, 8:8": None,
}


@torch.no_grad()
def last_hidden(model: LanguageModel, ids: Tensor) -> Tensor:
    """Return the last hidden state, `[samples, length, hidden]`."""
    output: Tensor = model.hf.base_model(ids, use_cache=False).last_hidden_state
    return output


@torch.no_grad()
def main() -> None:
    """Print the error of every variant and its run time in seconds."""
    dense = load_model("smollm2-135m")
    remove_blocks(dense, range(BLOCKS, len(dense.blocks)))
    samples = Sampler(get_protocol("quick"), dense).samples(0, ())
    unseen = samples.evaluations["ppl/wikipedia/512"].ids[:4]
    expected = last_hidden(dense, unseen)
    table = Table("variant", "error", "seconds", title=f"PBS2P, {BLOCKS} blocks of SmolLM2-135M")
    for name, changes in VARIANTS.items():
        model, start = copy.deepcopy(dense), time.perf_counter()
        if changes is None:
            PBS2P().compress(model, samples.calibration, [8] * BLOCKS)
        else:
            settings = {"pattern": "4:8"} | changes
            PBS2P.configure(**settings).apply(model, samples.calibration)
        seconds = time.perf_counter() - start
        moved = last_hidden(model, unseen) - expected
        error = float(moved.square().sum() / expected.square().sum())
        table.add_row(name, f"{error:.3f}", f"{seconds:.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
