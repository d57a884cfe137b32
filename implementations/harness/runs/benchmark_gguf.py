"""Benchmark of pruned models in llama.cpp, on the CPU; run by `make bench`.

Exports versions of the embedded model as GGUF files and prints tokens per second, medians of
interleaved repeats, and their ratios to the first model with the smallest and the largest. Which
units are removed does not affect speed, so no method is needed. Pass folders of saved models to
compare these instead, the dense one first. Keep the machine idle meanwhile.
"""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import xllamacpp
from rich.console import Console
from rich.progress import track
from rich.table import Table

from implementations.harness.model.gguf_export import export_gguf
from implementations.harness.model.loading import load_model
from implementations.harness.model.view import LanguageModel
from implementations.harness.runs.benchmarks import narrow_layers, remove_layers, zero_half

PROMPT, TOKENS, REPEATS = 512, 64, 9
TYPES = ("f16", "q8_0")


VERSIONS: dict[str, Callable[[LanguageModel], None]] = {
    "dense": lambda model: None,
    "half of the weights zero": zero_half,
    "a fifth of the layers removed": remove_layers,
    "narrower layers": narrow_layers,
}


def export(folder: Path, saved: list[str]) -> dict[str, Path]:
    """Write one file per model and type, and return the paths by label."""
    files: dict[str, Path] = {}
    for label in saved or VERSIONS:
        model = load_model(label if saved else "smollm2-135m")
        if not saved:
            VERSIONS[label](model)
        for type in TYPES:
            path = files[f"{label}, {type}"] = folder / f"{len(files)}.gguf"
            export_gguf(model, path, type=type)
    return files


def load(path: Path) -> Any:
    """Load a file in llama.cpp, with one thread per physical core."""
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx = PROMPT + TOKENS
    params.n_parallel = 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = psutil.cpu_count(logical=False)
    params.cache_prompt = params.fit_params = False
    params.verbosity = 0  # errors only
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
        files = export(Path(folder), sys.argv[1:])
        megabytes = {label: path.stat().st_size / 1e6 for label, path in files.items()}
        servers = {label: load(path) for label, path in files.items()}
        rounds = [
            {label: speeds(server) for label, server in servers.items()}
            for _ in track(range(REPEATS), "generating", console=Console(stderr=True))
        ]
    columns = [
        f"{phase}, {what}" for phase in ("prefill", "decode") for what in ("tokens/s", "ratio")
    ]
    table = Table("model", "MB", *columns, title="llama.cpp")
    for label in files:
        first = next(other for other in files if other.split(", ")[-1] == label.split(", ")[-1])
        cells = []
        for phase in (0, 1):
            cells.append(f"{statistics.median(each[label][phase] for each in rounds):.1f}")
            ratios = sorted(each[label][phase] / each[first][phase] for each in rounds)
            cells.append(f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")
        table.add_row(label, f"{megabytes[label]:.0f}", *cells)
    Console(width=120).print(table)
    sys.stdout.flush()
    os._exit(0)  # the destructor of the server can block


if __name__ == "__main__":
    main()
