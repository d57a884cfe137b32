"""Benchmark of remembering what was evaluated, against evaluating anew; run by `make bench`.

Evolution asks again and again for masks that it has seen. Both ways get the same masks in the same
order, of the embedded model with few blocks, so that minutes do.
"""

from __future__ import annotations

import math
import time

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from implementations.evop.evop import drawn, evolve
from implementations.harness import (
    Candidates,
    LanguageModel,
    Tokens,
    load_model,
    masked,
    perplexity,
    remove_blocks,
)
from implementations.harness.contract.tiny import random_tokens

BLOCKS, OFF, TOKENS = 12, 3, 128
SETTINGS = {"the defaults, 3 generations": (50, 3, 0.001), "P = 20, G = 10": (20, 10, 0.02)}


class Asked(Candidates):
    """Candidates that keep every mask they are asked for."""

    def __init__(self, model: LanguageModel, text: Tokens) -> None:
        self.masks: list[Tensor] = []
        super().__init__(model, lambda: math.log(perplexity(model, text).value), "blocks")

    def __call__(self, gone: Tensor) -> float:
        """Keep the mask and return its loss."""
        self.masks.append(gone)
        return super().__call__(gone)


@torch.no_grad()
def main() -> None:
    """Print evaluations a second, remembered and anew."""
    model = load_model("smollm2-135m")
    remove_blocks(model, range(BLOCKS, len(model.blocks)))
    text = random_tokens(1, TOKENS, vocabulary=model.vocabulary_size)
    table = Table(
        *("search", "asked for", "distinct", "a second, remembered", "a second, anew", "ratio"),
        title=f"EvoP, {OFF} of {BLOCKS} blocks, {TOKENS} tokens",
    )
    for name, (population, generations, mutation) in SETTINGS.items():
        torch.manual_seed(0)
        loss = Asked(model, text)
        start = time.perf_counter()
        evolve(loss, drawn(population, BLOCKS, OFF), generations, mutation)
        between = time.perf_counter()
        for gone in loss.masks:
            with masked(model, gone, "blocks"):
                loss.measure()
        seconds = between - start, time.perf_counter() - between
        asked = len(loss.masks)
        rates = (f"{asked / each:.1f}" for each in seconds)
        ratio = f"{seconds[1] / seconds[0]:.1f}"
        table.add_row(name, str(asked), str(loss.evaluations), *rates, ratio)
    Console().print(table)


if __name__ == "__main__":
    main()
