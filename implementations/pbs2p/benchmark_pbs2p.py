"""Benchmark of PBS2P's parts by the error of four real blocks; run by `make bench`.

The error is the relative squared one of the blocks' output on text that was not used to calibrate.
"""

from __future__ import annotations

import copy
import time
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from implementations.conftest import FirstBlocks
from implementations.pbs2p import PBS2P

VARIANTS: dict[str, dict[str, Any]] = {
    "default, 4:8": {},
    "15 fits a step": {"alternations": 15},
    "signs anew after every step": {"refresh": True},
    "all at once": {"stepwise": False},
    "no fit": {"alternations": 0},
    "all at once and no fit": {"stepwise": False, "alternations": 0},
    "by OBS": {"score": "obs"},
    "by OBS, the denominator squared": {"score": "obs-squared"},
    "the same and no fit": {"score": "obs-squared", "alternations": 0},
    "nothing made up by later columns": {"compensate": False},
    "5:8": {"pattern": "5:8"},
    "6:8": {"pattern": "6:8"},
    "N by importance, 4 of 8 in the mean": {"pattern": None, "sparsity": 0.5},
    "N by importance, 6 of 8 in the mean": {"pattern": None, "sparsity": 0.25},
}


@torch.no_grad()
def binarised(blocks: FirstBlocks) -> float:
    """Return the error of blocks that are binarised and not pruned."""
    model = copy.deepcopy(blocks.dense)
    PBS2P().compress(model, blocks.calibration, [8] * len(model.blocks))
    moved = blocks.run(model) - blocks.outputs
    return float(moved.square().sum() / blocks.outputs.square().sum())


def main() -> None:
    """Print the error of every variant, and the seconds it takes."""
    blocks = FirstBlocks()
    table = Table("variant", "error", "seconds", title="PBS2P, four blocks of SmolLM2-135M")
    for name, changes in VARIANTS.items():
        start = time.perf_counter()
        error = blocks.error("pbs2p", **({"pattern": "4:8"} | changes))
        table.add_row(name, f"{error:.3f}", f"{time.perf_counter() - start:.0f}")
    table.add_row("binarised alone, 8:8", f"{binarised(blocks):.3f}", "")
    Console().print(table)


if __name__ == "__main__":
    main()
