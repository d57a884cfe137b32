"""Benchmark of pruned models in llama.cpp, on the CPU; run by `make bench`.

Exports the embedded model and pruned versions of it as GGUF files and prints tokens per second,
medians of interleaved repeats. Keep the machine idle meanwhile.
"""

from __future__ import annotations

import os
import statistics
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import xllamacpp
from rich.console import Console
from rich.table import Table

from implementations.harness.data.samples import prepare
from implementations.harness.model.gguf_export import export_gguf
from implementations.harness.model.loading import load_model
from implementations.harness.prune.registry import get

PROMPT, TOKENS, REPEATS = 512, 64, 3
TYPES = ("f16", "q8_0")
PRUNED: dict[str, tuple[str, dict[str, Any]]] = {
    "dense": ("", {}),
    "wanda 2:4": ("wanda", {"pattern": "2:4"}),
    "flap 20 %": ("flap", {"sparsity": 0.2}),
    "shortgpt 20 %": ("shortgpt", {"sparsity": 0.2}),
}


def exported(folder: Path) -> dict[str, Path]:
    """Write one file per model and type, and return the paths by label."""
    files: dict[str, Path] = {}
    for label, (slug, settings) in PRUNED.items():
        model = load_model("smollm2-135m")
        if slug:
            get(slug)(**settings).apply(model, prepare("quick", model).calibration)
        for type in TYPES:
            files[f"{label}, {type}"] = folder / f"{len(files)}.gguf"
            export_gguf(model, files[f"{label}, {type}"], type=type)
    return files


def loaded(path: Path) -> Any:
    """Load a file in llama.cpp, with one thread per physical core."""
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx = PROMPT + TOKENS
    params.n_parallel = 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = psutil.cpu_count(logical=False)
    params.cache_prompt = params.fit_params = False
    params.verbosity = 0
    return xllamacpp.Server(params)


def speeds(server: Any) -> tuple[float, float]:
    """Return the tokens per second of prefill and decode for one prompt."""
    answer = server.handle_completions(
        {"prompt": list(range(100, 100 + PROMPT)), "max_tokens": TOKENS, "ignore_eos": True}
    )
    timings = answer["timings"]
    return timings["prompt_per_second"], timings["predicted_per_second"]


def main() -> None:
    """Print the table of speeds."""
    with TemporaryDirectory() as folder:
        files = exported(Path(folder))
        megabytes = {label: path.stat().st_size / 1e6 for label, path in files.items()}
        servers = {label: loaded(path) for label, path in files.items()}
        rounds = [
            {label: speeds(server) for label, server in servers.items()} for _ in range(REPEATS)
        ]
    table = Table("model", "MB", "prefill, tokens/s", "decode, tokens/s", title="llama.cpp")
    for label in files:
        prefill, decode = zip(*(each[label] for each in rounds), strict=True)
        medians = (f"{statistics.median(values):.1f}" for values in (prefill, decode))
        table.add_row(label, f"{megabytes[label]:.0f}", *medians)
    Console().print(table)
    sys.stdout.flush()
    os._exit(0)  # the destructor of the server can block


if __name__ == "__main__":
    main()
