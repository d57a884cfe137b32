"""Benchmark of `walk` on a model of the embedded model's shape; run by `make bench`.

The ratio of a walk to two bare passes should be at most 1.15, and 1.5 with Gram matrices; twice the
samples or blocks should take twice the time. Keep the machine idle meanwhile.
"""

from __future__ import annotations

from functools import partial

import torch

from implementations.harness.contract.tiny import random_tokens
from implementations.harness.data.tokens import Tokens
from implementations.harness.model.view import LanguageModel
from implementations.harness.prune.statistics import Gram
from implementations.harness.prune.walk import walk
from implementations.harness.runs.benchmarks import Benchmark, compare, random_model

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


def main() -> None:
    """Measure and print all ratios."""
    benchmark = Benchmark("Forward walk", __doc__)
    device, shape = benchmark.device, benchmark.shape
    length = 32 if benchmark.small else LENGTH
    tokens, half = (
        random_tokens(samples, length, vocabulary=shape["vocab_size"], batch_size=BATCH)
        for samples in (SAMPLES, SAMPLES // 2)
    )
    model = random_model(shape, device)
    bare = partial(bare_passes, model, tokens)
    for action, name in ((plain_walk, "walk"), (gram_walk, "walk with Gram")):
        ratio = f"{name} / two bare passes"
        benchmark.row(name, partial(compare, partial(action, model, tokens), bare, device, ratio))
    once, twice = (partial(gram_walk, model, text) for text in (half, tokens))
    benchmark.row("samples", partial(compare, twice, once, device, "twice the samples / once"))
    blocks = shape["num_hidden_layers"] // 2
    shallow, deep = (
        partial(gram_walk, random_model(shape | {"num_hidden_layers": number}, device), tokens)
        for number in (blocks // 2, blocks)
    )
    ratio = f"{blocks} / {blocks // 2} blocks"
    benchmark.row("blocks", partial(compare, deep, shallow, device, ratio))
    benchmark.show()


if __name__ == "__main__":
    main()
