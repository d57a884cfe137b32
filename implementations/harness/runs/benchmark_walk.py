"""Benchmark of `walk` on the embedded model; run by `make bench`.

Results are ratios of run times, medians of interleaved repeats. Keep the machine idle meanwhile.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table

from implementations.harness.contract.tiny import random_tokens
from implementations.harness.data.tokens import Tokens
from implementations.harness.model.loading import load_model
from implementations.harness.model.surgery import remove_blocks
from implementations.harness.model.view import LanguageModel
from implementations.harness.prune.walk import Gram, walk

REPEATS = 3
SAMPLES, LENGTH, BATCH = 4, 512, 2


def bare_passes(model: LanguageModel, tokens: Tokens) -> None:
    """Run the calibration set twice through the decoder, without head, cache or statistics."""
    for _ in range(2):
        for ids in tokens.batches():
            with torch.no_grad():
                model.hf.base_model(input_ids=ids.to(model.device), use_cache=False)


def plain_walk(model: LanguageModel, tokens: Tokens) -> None:
    """Walk with the two passes per block that every method needs, without pruning."""
    for block in walk(model, tokens):
        for _ in block.run():
            pass


def gram_walk(model: LanguageModel, tokens: Tokens) -> None:
    """Walk and accumulate the Gram matrix of every distinct input."""
    for block in walk(model, tokens):
        block.observe(Gram)


def seconds(action: Callable[[], None]) -> float:
    """Return the duration of one call."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def interleaved(*actions: Callable[[], None]) -> list[list[float]]:
    """Time the actions in turn (A B C A B C ...) after one warm-up of each."""
    for action in actions:
        action()
    rounds = [[seconds(action) for action in actions] for _ in range(REPEATS)]
    return [list(times) for times in zip(*rounds, strict=True)]


def ratio(numerators: list[float], denominators: list[float]) -> tuple[float, float, float]:
    """Return the median, smallest and largest ratio of the pairs."""
    ratios = [a / b for a, b in zip(numerators, denominators, strict=True)]
    return statistics.median(ratios), min(ratios), max(ratios)


def shortened(blocks: int) -> LanguageModel:
    """Return the embedded model with only its first `blocks` blocks."""
    model = load_model("smollm2-135m")
    remove_blocks(model, range(blocks, len(model.blocks)))
    return model


def main() -> None:
    """Print the table of ratios."""
    model = load_model("smollm2-135m")
    tokens = random_tokens(SAMPLES, LENGTH, vocabulary=model.vocabulary_size, batch_size=BATCH)
    half = random_tokens(SAMPLES // 2, LENGTH, vocabulary=model.vocabulary_size, batch_size=BATCH)
    shallow, deep = shortened(8), shortened(16)

    bare, plain, gram = interleaved(
        lambda: bare_passes(model, tokens),
        lambda: plain_walk(model, tokens),
        lambda: gram_walk(model, tokens),
    )
    halved, whole = interleaved(lambda: gram_walk(model, half), lambda: gram_walk(model, tokens))
    eight, sixteen = interleaved(
        lambda: gram_walk(shallow, tokens), lambda: gram_walk(deep, tokens)
    )
    table = Table("ratio", "median", "min", "max", "target", title="Forward walk")
    for name, values, target in (
        ("walk / two bare passes", ratio(plain, bare), "at most 1.15"),
        ("walk with Gram / two bare passes", ratio(gram, bare), "at most 1.5"),
        ("twice the samples", ratio(whole, halved), "2"),
        ("twice the blocks", ratio(sixteen, eight), "2"),
    ):
        table.add_row(name, *(f"{value:.3f}" for value in values), target)
    Console().print(table)


if __name__ == "__main__":
    main()
