"""The options that commands of `atlas` share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, cast, get_args

import typer

from implementations.harness.download.storage import user_path
from implementations.harness.errors import BadInput, in_short, unknown_name
from implementations.harness.prune.registry import check_name
from implementations.harness.results.bounds import LARGEST_INTEGER
from implementations.harness.results.protocol import MOST_TOKENS
from implementations.harness.results.record import DENSE
from implementations.harness.results.recovery import How, Recovery
from implementations.harness.results.table import share

TOKENS = 102_400
"""Read by a recovery where nothing else is said: a hundred steps."""


def place(param: typer.CallbackParam, value: Path | None) -> Path | None:
    """The path of an option, `~` expanded; raises `BadInput` for one that no system has."""
    return None if value is None else user_path(str(value), param.opts[0])


def method_name(slug: str) -> str:
    """The name of a method or of the dense model; raises `BadInput` for any other."""
    if slug != DENSE:
        check_name(slug)
    return slug


def method_names(slugs: list[str] | None) -> list[str] | None:
    """Several of them, or none."""
    return None if slugs is None else [method_name(slug) for slug in slugs]


def sparsity(text: str) -> float:
    """The value of --sparsity; raises `typer.BadParameter` unless it is a share."""
    try:
        return share(text)
    except BadInput as error:
        raise typer.BadParameter(str(error), param_hint="--sparsity") from error


def seed(text: str | int) -> int:
    """The value of --seed; raises `typer.BadParameter` unless a generator takes it."""
    try:
        value = int(text)
    except ValueError:
        value = -1
    if not 0 <= value <= LARGEST_INTEGER:
        expected = f"a whole number between 0 and {LARGEST_INTEGER:,}"
        raise typer.BadParameter(
            f"expected {expected}, got {in_short(text, 100)!r}", param_hint="--seed"
        )
    return value


Slug = Annotated[
    str,
    typer.Argument(
        metavar="METHOD", callback=method_name, help="One of `atlas methods`, or dense."
    ),
]
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
    Path | None,
    typer.Option(
        "--task-folder",
        callback=place,
        help="Task files of your own, beside lm-eval's; lm-eval runs the code in them.",
    ),
]
Publish = Annotated[
    bool, typer.Option("--publish", help="Also put the records into the methods' folders.")
]
Runs = Annotated[Path, typer.Option("--runs", callback=place, help="Folder of records.")]
ReadRuns = Annotated[
    Path | None, typer.Option("--runs", callback=place, help="Folder of records; default: runs.")
]
Save = Annotated[
    Path | None, typer.Option("--save", callback=place, help="New folder for the pruned model.")
]
File = Annotated[
    Path | None, typer.Option("--file", callback=place, help="A .yaml file with the runs.")
]
RecordFile = Annotated[
    Path, typer.Argument(metavar="RECORD", callback=place, help="The .json file of a run.")
]
Sparsity = Annotated[
    float | None,
    typer.Option(metavar="SHARE", parser=sparsity, help="Share to remove: 0.5 or 50%."),
]
Sparsities = Annotated[
    list[float] | None,
    typer.Option(metavar="SHARE", parser=sparsity, help="0.5 or 50%; repeatable."),
]
Seed = Annotated[int, typer.Option(metavar="INTEGER", parser=seed, help="Draws the calibration.")]
Seeds = Annotated[
    list[int] | None, typer.Option(metavar="INTEGER", parser=seed, help="Repeatable.")
]
Recover = Annotated[
    str | None, typer.Option("--recover", help="Train after pruning: lora or full.")
]
TrainTokens = Annotated[
    int | None,
    typer.Option(
        "--tokens",
        help="Tokens to train on with --recover, rounded up to whole steps; default: 102400.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


def check_arguments(arguments: Sequence[str]) -> None:
    """Refuse with `BadInput` what no command can mean: an empty value, and bytes that are no text.

    An empty one comes of a variable that is not set, and must not stand for the default.
    """
    for before, argument in zip(("", *arguments), arguments, strict=False):
        option, equals, value = argument.partition("=")
        if not argument or (argument.startswith("--") and equals and not value):
            name = option or (before if before.startswith("--") else "an argument")
            raise BadInput(f"{in_short(name, 100)} is empty; give a value, or leave it out")
        try:
            argument.encode()
        except UnicodeEncodeError as error:
            raise BadInput(f"{in_short(ascii(argument), 100)} is not UTF-8") from error


def recovery(how: str | None, tokens: int | None) -> Recovery | None:
    """Read what to train after pruning; raises `BadInput` for what is none of it."""
    if how is None:
        if tokens is not None:
            raise BadInput("--tokens says how long --recover trains; give both, or neither")
        return None
    if how not in get_args(How):
        raise BadInput(unknown_name(how, get_args(How), "recovery"))
    if tokens is not None and not 1 <= tokens <= MOST_TOKENS:
        raise BadInput(f"--tokens {tokens} is not from 1 to {MOST_TOKENS:,}")
    return Recovery.by(cast(How, how), tokens or TOKENS)


def listed(values: Sequence[str] | None) -> tuple[str, ...]:
    """The values of a repeatable option, each of which may hold several by commas.

    Raises `BadInput` where nothing is left between the commas.
    """
    parts = [part.strip() for value in values or () for part in value.split(",")]
    if "" in parts:
        raise BadInput(f"{in_short(','.join(values or ()), 100)!r} has an empty name in it")
    return tuple(parts)
