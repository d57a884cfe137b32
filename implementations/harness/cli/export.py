"""Command that writes a model for other programs: `atlas export-gguf`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from implementations.harness.cli import terminal
from implementations.harness.cli.options import expanded_path
from implementations.harness.cli.progress_output import show_progress


def export_gguf(
    folder: Annotated[
        str,
        typer.Argument(metavar="DIR", help="Folder of a saved model, or any model as in --model"),
    ],
    out: Annotated[
        Path,
        typer.Argument(metavar="OUT.gguf", callback=expanded_path, help="New file to write"),
    ],
    type: Annotated[str, typer.Option(help="Number format: f16, bf16 or q8_0")] = "f16",
) -> None:
    """Write a model as a GGUF file for llama.cpp, Ollama and LM Studio."""
    from implementations.harness.model.gguf_export import export_gguf as write

    with show_progress():
        write(folder, out, type=type)
    terminal.show_paths(gguf=out)
