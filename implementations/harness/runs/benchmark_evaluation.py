"""Benchmark of `perplexity` against the loss of plain transformers; run by `make bench`.

The plain loss holds the logits of a whole batch; `perplexity` computes a few positions at a time.
"""

from __future__ import annotations

import math
import statistics
from functools import partial
from typing import Any

import torch

from implementations.harness.contract.tiny import random_tokens
from implementations.harness.data.tokens import Tokens
from implementations.harness.measure.perplexity import perplexity
from implementations.harness.model.view import LanguageModel
from implementations.harness.runs.benchmarks import Benchmark, compare, random_model

SAMPLES, LENGTH, BATCH = 4, 512, 2


@torch.no_grad()
def plain(model: LanguageModel, tokens: Tokens) -> float:
    """Return the perplexity by the loss of transformers; all windows have the same length."""
    batches = (ids.to(model.device) for ids in tokens.batches())
    losses = [float(model.hf(input_ids=i, labels=i, use_cache=False).loss) for i in batches]
    return math.exp(statistics.mean(losses))


def compared(model: LanguageModel, tokens: Tokens) -> dict[str, Any]:
    """Return the fields of a row for a model."""
    ours, theirs = perplexity(model, tokens).value, plain(model, tokens)
    row = compare(
        partial(perplexity, model, tokens),
        partial(plain, model, tokens),
        model.device,
        "perplexity / plain loss",
    )
    return row | {"note": f"values differ by {abs(ours / theirs - 1):.1e}"}


def main() -> None:
    """Measure and print both number formats."""
    benchmark = Benchmark("Perplexity", __doc__)
    tokens = random_tokens(
        SAMPLES,
        32 if benchmark.small else LENGTH,
        vocabulary=benchmark.shape["vocab_size"],
        batch_size=BATCH,
    )
    for dtype in (torch.float32, torch.bfloat16):
        model = random_model(benchmark.shape, benchmark.device, dtype)
        benchmark.row(str(dtype).removeprefix("torch."), partial(compared, model, tokens))
    benchmark.show()


if __name__ == "__main__":
    main()
