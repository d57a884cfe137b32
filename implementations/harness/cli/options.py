"""The options that commands of `atlas` share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Slug = Annotated[str, typer.Argument(metavar="METHOD", help="One of `atlas methods`, or dense.")]
Model = Annotated[
    str | None,
    typer.Option("--model", help="smollm2-135m, a folder or a hub id; default: the protocol's."),
]
ProtocolName = Annotated[
    str, typer.Option("--protocol", help="smol, quick, paper, or the path of a .yaml file.")
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or an accelerator.")]
DType = Annotated[
    str | None,
    typer.Option("--dtype", help="float32, bfloat16 or float16; default: the protocol's."),
]
Accelerator = Annotated[
    str | None,
    typer.Option(
        "--accelerator", help="Where one block at a time is worked on, for models too big for it."
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="A parameter of the method; repeatable."),
]
Tasks = Annotated[
    list[str] | None,
    typer.Option("--tasks", help="Zero-shot tasks of lm-eval, by commas; repeatable."),
]
TaskFolder = Annotated[
    Path | None, typer.Option("--task-folder", help="Task files of your own, beside lm-eval's.")
]
Publish = Annotated[
    bool, typer.Option("--publish", help="Also put the records into the methods' folders.")
]
Runs = Annotated[Path, typer.Option("--runs", help="Folder of records.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


def listed(values: list[str] | None) -> tuple[str, ...]:
    """The values of a repeatable option, each of which may hold several by commas."""
    parts = (part.strip() for value in values or () for part in value.split(","))
    return tuple(part for part in parts if part)
