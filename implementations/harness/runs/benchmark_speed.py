"""Benchmark of prefill and decode of pruned models in bfloat16; run by `make bench`.

The models have random weights and the shapes of known models. Which units are removed does not
affect speed, so no method is needed. Each is timed beside the dense model, as a record's speed is.
"""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from implementations.harness.errors import Unavailable, in_short
from implementations.harness.measure.memory import free_memory
from implementations.harness.measure.speed import speed
from implementations.harness.model.view import LanguageModel
from implementations.harness.runs.benchmarks import (
    ATTEMPTS,
    SMALL,
    SMOLLM2,
    Benchmark,
    compress_half,
    fields,
    narrow_layers,
    random_model,
    remove_layers,
)

PROMPT, TOKENS, BATCH = 512, 32, 8
LLAMA = {"num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128_256}
SHAPES = {
    "SmolLM2-135M": SMOLLM2,
    "Llama-3.2-1B": LLAMA
    | {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16}
    | {"tie_word_embeddings": True},
    "Llama-3.1-8B": LLAMA
    | {"hidden_size": 4096, "intermediate_size": 14_336, "num_hidden_layers": 32},
}
GIGABYTES = {"Llama-3.2-1B": 2.5, "Llama-3.1-8B": 16.1}
"""Weights in bfloat16; the dense and the pruned model are in memory together."""

VERSIONS: dict[str, Callable[[LanguageModel], str | None]] = {
    "a fifth of the layers removed": remove_layers,
    "narrower layers": narrow_layers,
    "2:4 kernels": compress_half,
}


class Model:
    """A dense model, created when the first row needs it."""

    def __init__(self, name: str, shape: dict[str, int], device: torch.device) -> None:
        self.name, self.shape, self.device = name, shape, device
        self.model: LanguageModel | None = None

    def dense(self) -> LanguageModel:
        """Return the model; raises `Unavailable` if memory or number format do not allow it."""
        if self.model is None:
            gc.collect()
            needed, free = 2.5e9 * GIGABYTES.get(self.name, 0), free_memory(self.device)
            if needed > free:
                raise Unavailable(f"needs {needed / 1e9:.0f} GB, {free / 1e9:.0f} GB are free")
            try:
                one = torch.ones(8, 8, dtype=torch.bfloat16, device=self.device)
                float((one @ one).sum())
            except (RuntimeError, NotImplementedError) as error:
                raise Unavailable(f"the device has no bfloat16: {in_short(error)}") from error
            self.model = random_model(self.shape, self.device, torch.bfloat16)
        return self.model


def measured(
    model: Model, prune: Callable[[LanguageModel], str | None], prompt: int, tokens: int, batch: int
) -> list[dict[str, Any]]:
    """Return the fields of the rows for prefill and decode of a pruned copy."""
    dense = model.dense()
    pruned = LanguageModel(copy.deepcopy(dense.hf), name="pruned")
    note = prune(pruned) or ""
    found = speed(dense, pruned, prompt=prompt, tokens=tokens, batch=batch, attempts=ATTEMPTS)
    rates = (rate for rate in (found.prefill, found.decode) if rate is not None)
    return [fields(rate, "pruned / dense", "tokens/s") | {"note": note} for rate in rates]


def main() -> None:
    """Measure and print every version of every shape."""
    benchmark = Benchmark("Speed in bfloat16", __doc__)
    sizes, shapes = (PROMPT, TOKENS, BATCH), SHAPES
    if benchmark.small:
        sizes, shapes = (16, 4, 2), {"small": SMALL}
    elif benchmark.device.type == "cpu":
        sizes, shapes = (128, 16, 1), {"SmolLM2-135M": SMOLLM2}
    for name, shape in shapes.items():
        model = Model(name, shape, benchmark.device)
        for version, prune in VERSIONS.items():
            cases = [f"{name}, {version}, {kind}" for kind in ("prefill", "decode")]
            benchmark.add(cases, partial(measured, model, prune, *sizes))
    benchmark.show()


if __name__ == "__main__":
    main()
