"""Benchmarks of the search: quality against chance and greedy search, and speed; `make bench`.

The first benchmark compares the lowest losses that the searches find on synthetic losses. The
second measures the cache of evaluated masks, because evolution often asks for masks that it has
seen before. With and without the cache, the same masks are evaluated in the same order, on the
embedded model with few blocks.
"""

from __future__ import annotations

import math
import statistics
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
    random_search,
    remove_blocks,
)
from implementations.harness.contract.tiny import random_tokens, tiny_model

BLOCKS, OFF, TOKENS = 12, 3, 128
SEEDS = 3
SEARCHES = {"the defaults": (50, 100, 0.001), "P = 20, G = 10, mutation 0.02": (20, 10, 0.02)}
SETTINGS = {"the defaults, 3 generations": (50, 3, 0.001), "P = 20, G = 10": (20, 10, 0.02)}


class RecordedCandidates(Candidates):
    """Candidates that store every requested mask."""

    def __init__(self, model: LanguageModel, text: Tokens) -> None:
        self.masks: list[Tensor] = []
        super().__init__(model, lambda: perplexity(model, text).loss, "blocks")

    def __call__(self, removed: Tensor) -> float:
        """Store the mask and return its loss."""
        self.masks.append(removed)
        return super().__call__(removed)


class SyntheticCandidates(Candidates):
    """Candidates with a synthetic loss: one term per block and one per pair of blocks."""

    def __init__(self, blocks: int, seed: int) -> None:
        super().__init__(tiny_model(), lambda: math.nan, "blocks")
        generator = torch.Generator().manual_seed(seed)
        self.alone = torch.rand(blocks, generator=generator)
        self.pairs = 0.21 * torch.randn(blocks, blocks, generator=generator).triu(diagonal=1)

    def _evaluate(self, removed: Tensor) -> float:
        off = removed.float()
        return float(off @ self.alone + off @ self.pairs @ off)


def greedy(loss: Candidates, blocks: int, off: int) -> float:
    """Remove one block after another, always the one whose removal costs least; return the loss."""
    removed = torch.zeros(blocks, dtype=torch.bool)
    for _ in range(off):
        trials = [removed.index_fill(0, block, True) for block in (~removed).nonzero()]
        removed = min(trials, key=loss)
    return loss(removed)


def search_results(
    blocks: int, off: int, settings: tuple[int, int, float], seed: int
) -> tuple[int, tuple[float, float, float]]:
    """Return the distinct evaluations, and the losses of evolution, random and greedy search."""
    population, generations, mutation = settings
    torch.manual_seed(seed)
    evolution, chance = SyntheticCandidates(blocks, seed), SyntheticCandidates(blocks, seed)
    evolve(evolution, drawn(population, blocks, off), generations, mutation)
    random_search(chance, lambda: drawn(1, blocks, off)[0], evolution.evaluations)
    greedy_loss = greedy(SyntheticCandidates(blocks, seed), blocks, off)
    return evolution.evaluations, (evolution.least, chance.least, greedy_loss)


def compare_searches() -> None:
    """Print the mean loss that each search finds, and how often evolution beats greedy search."""
    table = Table(
        *("blocks", "settings", "distinct evaluations", "evolution", "random masks", "greedy"),
        "evolution better than greedy",
        title=f"EvoP, synthetic losses, mean of {SEEDS} seeds, lower is better",
    )
    for off, blocks in ((5, 22), (6, 30)):
        for name, settings in SEARCHES.items():
            runs = [search_results(blocks, off, settings, seed) for seed in range(SEEDS)]
            counts = ", ".join(str(evaluations) for evaluations, _ in runs)
            evolution, chance, greedily = zip(*(losses for _, losses in runs), strict=True)
            means = (f"{statistics.mean(each):.3f}" for each in (evolution, chance, greedily))
            wins = sum(ours < theirs for ours, theirs in zip(evolution, greedily, strict=True))
            table.add_row(f"{off} of {blocks}", name, counts, *means, f"{wins} of {SEEDS}")
    Console().print(table)


@torch.no_grad()
def main() -> None:
    """Print the quality of the searches, and evaluations per second with and without the cache."""
    compare_searches()
    model = load_model("smollm2-135m")
    remove_blocks(model, range(BLOCKS, len(model.blocks)))
    text = random_tokens(1, TOKENS, vocabulary=model.vocabulary_size)
    table = Table(
        *("search", "requested", "distinct", "per second, cached", "per second, uncached", "ratio"),
        title=f"EvoP, {OFF} of {BLOCKS} blocks, {TOKENS} tokens",
    )
    for name, (population, generations, mutation) in SETTINGS.items():
        torch.manual_seed(0)
        loss = RecordedCandidates(model, text)
        start = time.perf_counter()
        evolve(loss, drawn(population, BLOCKS, OFF), generations, mutation)
        between = time.perf_counter()
        for removed in loss.masks:
            with masked(model, removed, "blocks"):
                loss.measure()
        seconds = between - start, time.perf_counter() - between
        requested = len(loss.masks)
        rates = (f"{requested / each:.1f}" for each in seconds)
        ratio = f"{seconds[1] / seconds[0]:.1f}"
        table.add_row(name, str(requested), str(loss.evaluations), *rates, ratio)
    Console().print(table)


if __name__ == "__main__":
    main()
