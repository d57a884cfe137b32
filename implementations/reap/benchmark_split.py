"""Remove experts from SmolLM2-135M split into experts, by every score and at random; `make bench`.

Prints the perplexity on eight windows of Wikipedia (protocol `quick`) with 6 of 8 experts in every
block, for random removal with mean and range over three seeds. The mixture is not trained: the
numbers show that a method ranks experts better than random selection, and nothing about real
mixtures.
"""

from __future__ import annotations

import argparse
import copy
import statistics

import torch
from rich.console import Console
from rich.table import Table

from implementations.harness import (
    LanguageModel,
    Tokens,
    get_method,
    keep_experts,
    load_model,
    perplexity,
    set_expert_count,
)
from implementations.harness.contract.split_mixture import split
from implementations.harness.contract.tiny import random_tokens, tiny_model
from implementations.harness.data.samples import prepare_samples
from implementations.reap.reap import REAP, SCORES

SEEDS = 3
REMOVED = 2  # of 8 experts
WINDOWS = 8


VARIANTS: dict[str, tuple[str, dict[str, object]]] = {
    **{f"REAP, score={score}": ("reap", {"score": score}) for score in SCORES},
    "NAEE": ("naee", {}),
    "NAEE, search=greedy": ("naee", {"search": "greedy"}),
    "NAEE, progressive=true": ("naee", {"progressive": True}),
}


def remove_at_random(model: LanguageModel, count: int, seed: int) -> None:
    """Remove `count` random experts from every block."""
    generator = torch.Generator().manual_seed(seed)
    for block in model.visit():
        if block.experts:
            order = torch.randperm(block.experts.count, generator=generator)
            keep_experts(block, order[count:])
    set_expert_count(model)


@torch.no_grad()
def main() -> None:
    """Split the model, prune it in every way, and print the perplexities."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="use a tiny model, as a test")
    small = parser.parse_args().small
    dense = tiny_model(intermediate_size=64) if small else load_model("smollm2-135m")
    if small:
        calibration, text = random_tokens(), random_tokens(seed=1)
    else:
        samples = prepare_samples("quick", dense)
        calibration = samples.calibration
        text = Tokens.from_ids(samples.evaluations["ppl/wikipedia/512"].ids[:WINDOWS].clone())
    mixture = split(dense, calibration)
    share = REAP().share(mixture, REMOVED)
    table = Table("experts removed by", "perplexity")

    def measure(name: str, model: LanguageModel) -> None:
        table.add_row(name, f"{perplexity(model, text).value:.1f}")

    measure("nothing, before the split", dense)
    measure("nothing", mixture)
    for name, (slug, settings) in VARIANTS.items():
        model = copy.deepcopy(mixture)
        get_method(slug).configure(sparsity=share, **settings).apply(model, calibration)
        measure(name, model)
    values = []
    for seed in range(SEEDS):
        model = copy.deepcopy(mixture)
        remove_at_random(model, REMOVED, seed)
        values.append(perplexity(model, text).value)
    mean, low, high = statistics.mean(values), min(values), max(values)
    table.add_row(f"random selection, {SEEDS} seeds", f"{mean:.1f} ({low:.1f} to {high:.1f})")
    Console().print(table)


if __name__ == "__main__":
    main()
