"""Benchmark of `backwalk` on the embedded model; run by `make bench`.

Each variant runs in its own process and reports its peak memory above the loaded model. Keep the
machine idle meanwhile.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable

from rich.console import Console
from rich.table import Table
from torch.nn.functional import cross_entropy

from implementations.harness.contract.tiny import random_tokens
from implementations.harness.data.tokens import Tokens
from implementations.harness.measure.memory import peak_memory
from implementations.harness.model.loading import load_model
from implementations.harness.model.view import LanguageModel
from implementations.harness.prune.backwalk import backwalk

SAMPLES, LENGTH, BATCH = 4, 512, 1
ROLES = ("q", "k", "v", "o", "gate", "up", "down")


def full_pass(model: LanguageModel, tokens: Tokens) -> None:
    """Compute the gradients of all parameters in one backward pass over all samples."""
    logits = model.hf(input_ids=tokens.ids, use_cache=False).logits[:, :-1]
    cross_entropy(logits.flatten(end_dim=1), tokens.ids[:, 1:].flatten()).backward()


def weights(model: LanguageModel, tokens: Tokens) -> None:
    """Walk back with the gradients of all linear layers, dropping those of each block after use."""
    for _ in backwalk(model, tokens, gradients=ROLES):
        pass


def squares(model: LanguageModel, tokens: Tokens) -> None:
    """Walk back with the gradients and the squared gradients of each sample."""
    for _ in backwalk(model, tokens, gradients=ROLES, squares=True):
        pass


def masks(model: LanguageModel, tokens: Tokens) -> None:
    """Walk back with the gradients of head and channel masks only."""
    for _ in backwalk(model, tokens, masks=("o", "down")):
        pass


def measure(variant: Callable[[LanguageModel, Tokens], None]) -> tuple[float, float]:
    """Return the seconds and the peak memory in GB above the loaded model."""
    model = load_model("smollm2-135m")
    tokens = random_tokens(SAMPLES, LENGTH, vocabulary=model.vocabulary_size, batch_size=BATCH)
    with peak_memory(model.device) as watch:
        start = time.perf_counter()
        variant(model, tokens)
        seconds = time.perf_counter() - start
    return seconds, (watch.peak.bytes - watch.peak.start) / 1e9


def main() -> None:
    """Print the table of results."""
    table = Table("variant", "seconds", "GB above the model", title="Backward walk")
    for variant in (full_pass, weights, squares, masks):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            seconds, memory = pool.apply(measure, (variant,))
        table.add_row(variant.__name__.replace("_", " "), f"{seconds:.0f}", f"{memory:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
