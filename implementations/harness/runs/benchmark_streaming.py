"""Memory and time of streamed pruning on random models of 7B width; run by `make bench`.

Models with 4 and 8 decoder layers are written to disk in bfloat16 (6 GB in all). Blocks are
computed in float32, because many CPUs multiply bfloat16 matrices ten times slower. Each method runs
in a process of its own. Anonymous memory is what the process needs; pages of files that are mapped
are left out, because the system can drop them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from transformers import LlamaConfig, LlamaForCausalLM

HIDDEN, CHANNELS, VOCABULARY, HEADS = 4096, 11_008, 32_000, 32
SAMPLES, LENGTH = 2, 256
DEPTHS = (4, 8)
METHODS = ("wanda", "sparsegpt", "flap", "shortgpt")


def write_model(folder: Path, blocks: int) -> None:
    """Write a random model of 7B width with few blocks."""
    config = LlamaConfig(
        hidden_size=HIDDEN,
        intermediate_size=CHANNELS,
        num_hidden_layers=blocks,
        num_attention_heads=HEADS,
        vocab_size=VOCABULARY,
        max_position_embeddings=2048,
    )
    torch.set_default_dtype(torch.bfloat16)
    try:
        LlamaForCausalLM(config).save_pretrained(folder)
    finally:
        torch.set_default_dtype(torch.float32)


def anonymous() -> int:
    """Return the anonymous memory of this process in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def measure(folder: Path, method: str) -> dict[str, float]:
    """Prune a streamed model; return bytes at the start, at the peak, and seconds."""
    from implementations.harness import get_method
    from implementations.harness.contract.tiny import random_tokens
    from implementations.harness.model.streaming import open_streamed

    model = open_streamed(str(folder), dtype="float32", tokenizer=False)
    tokens = random_tokens(SAMPLES, LENGTH, vocabulary=VOCABULARY, batch_size=1)
    start = peak = anonymous()
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.02):
            peak = max(peak, anonymous())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=folder.parent) as work, model.writing(Path(work)):
        get_method(method)(sparsity=0.25 if method == "shortgpt" else 0.5).apply(model, tokens)
    seconds = time.perf_counter() - began
    done.set()
    thread.join()
    return {"start": start, "peak": peak, "seconds": seconds}


def main() -> None:
    """Print the table, or measure one method in this process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--method")
    parser.add_argument("--methods", nargs="*", default=METHODS)
    given = parser.parse_args()
    if given.method:
        sys.stdout.write(json.dumps(measure(given.folder, given.method)))
        return
    block = 4 * (4 * HIDDEN**2 + 3 * HIDDEN * CHANNELS)  # bytes in float32
    table = Table(
        *("method", "blocks", "at the start, MB", "peak above it, MB", "in blocks", "s per block"),
        title=f"Streamed pruning, blocks of {block / 1e6:.0f} MB",
    )
    with tempfile.TemporaryDirectory() as place:
        for blocks in DEPTHS:
            write_model(Path(place, str(blocks)), blocks)
        cases = [(method, blocks) for method in given.methods for blocks in DEPTHS]
        for method, blocks in track(cases, "pruning", console=Console(stderr=True)):
            command = [sys.executable, "-m", __spec__.name, "--method", method]
            done = subprocess.run(
                [*command, "--folder", str(Path(place, str(blocks)))],
                capture_output=True,
                text=True,
                check=True,
            )
            found = json.loads(done.stdout)
            above = found["peak"] - found["start"]
            table.add_row(
                method,
                str(blocks),
                f"{found['start'] / 1e6:,.0f}",
                f"{above / 1e6:,.0f}",
                f"{above / block:.2f}",
                f"{found['seconds'] / blocks:.1f}",
            )
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
