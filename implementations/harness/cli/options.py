"""Options that several commands of `atlas` share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, cast, get_args

import typer

from implementations.harness.errors import BadInput, in_short, unknown_name
from implementations.harness.results.external import check_name
from implementations.harness.results.files import user_path
from implementations.harness.results.protocol import MOST_TOKENS, How, Recovery
from implementations.harness.results.reading import LARGEST_INTEGER
from implementations.harness.results.record import DENSE

TOKENS = 102_400
"""Default number of training tokens of --recover, a hundred steps."""


def expanded_path(param: typer.CallbackParam, value: Path | None) -> Path | None:
    """Expand `~` in the path of an option; raises `BadInput` for an invalid path."""
    return None if value is None else user_path(str(value), param.opts[0])


def method_name(slug: str) -> str:
    """Check the name of a method or `dense`; raises `BadInput` if it is unknown."""
    if slug != DENSE:
        check_name(slug)
    return slug


def method_names(slugs: list[str] | None) -> list[str] | None:
    """Check several names of methods, as `method_name` does."""
    return None if slugs is None else [method_name(slug) for slug in slugs]


def sparsity(text: str) -> float:
    """Parse the value of --sparsity; raises `typer.BadParameter` if it is invalid."""
    from implementations.harness.results.table import share

    try:
        return share(text)
    except BadInput as error:
        raise typer.BadParameter(str(error), param_hint="--sparsity") from error


def seed(text: str | int) -> int:
    """Parse the value of --seed; raises `typer.BadParameter` unless torch accepts it."""
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
        metavar="METHOD",
        callback=method_name,
        help="Method (see `atlas methods`), your own ./file.py or package.module:Class, or dense",
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="smollm2-135m, the folder of a model or a hub id; default: the protocol's model",
    ),
]
ProtocolName = Annotated[
    str, typer.Option("--protocol", help="smol, quick, paper or the path of a .yaml file")
]
CalibrateOn = Annotated[
    str | None,
    typer.Option(
        "--calibrate-on",
        metavar="FILE",
        help="Your own calibration text (.txt, .jsonl or .parquet); default: the protocol's",
    ),
]
EvaluateOn = Annotated[
    list[str] | None,
    typer.Option(
        "--evaluate-on",
        metavar="FILE",
        help="Your own evaluation text, instead of the protocol's; repeatable",
    ),
]
SweptProtocol = Annotated[
    str | None,
    typer.Option(
        "--protocol",
        help="smol, quick, paper or the path of a .yaml file; default: the file's, or smol",
    ),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or an accelerator such as cuda")]
DType = Annotated[
    str | None,
    typer.Option(
        "--dtype", help="Number format: float32, bfloat16 or float16; default: the protocol's"
    ),
]
Accelerator = Annotated[
    str | None,
    typer.Option(
        "--accelerator",
        help="Accelerator that processes one decoder layer at a time, for models larger than its "
        "memory; the weights stay on the CPU, or on --device",
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Set a parameter of the method; repeatable"),
]
Tasks = Annotated[
    list[str] | None,
    typer.Option("--tasks", help="Comma-separated lm-eval tasks, measured zero-shot; repeatable"),
]
TaskFolder = Annotated[
    Path | None,
    typer.Option(
        "--task-folder",
        callback=expanded_path,
        help="Folder with your own task files; lm-eval runs the code in them",
    ),
]
Publish = Annotated[
    bool, typer.Option("--publish", help="Also write the records to the methods' folders")
]
Runs = Annotated[
    Path, typer.Option("--runs", callback=expanded_path, help="Folder for the records")
]
ReadRuns = Annotated[
    Path | None,
    typer.Option(
        "--runs", callback=expanded_path, help="Folder with your own records; default: runs"
    ),
]
Save = Annotated[
    Path | None,
    typer.Option("--save", callback=expanded_path, help="New folder to save the pruned model to"),
]
File = Annotated[
    Path | None,
    typer.Option("--file", callback=expanded_path, help="Sweep file (.yaml) that lists the runs"),
]
RecordFile = Annotated[
    Path, typer.Argument(metavar="RECORD", callback=expanded_path, help="Record file (.json)")
]
RecordedModel = Annotated[
    str | None, typer.Option("--model", help="Location of the model; default: as recorded")
]

Sparsity = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE", parser=sparsity, help="Share of the weights to remove: 0.5 or 50%"
    ),
]
Sparsities = Annotated[
    list[float] | None,
    typer.Option(
        metavar="SHARE",
        parser=sparsity,
        help="Share of the weights to remove: 0.5 or 50%; repeatable",
    ),
]
Patterns = Annotated[
    list[str] | None, typer.Option("--pattern", help="N:M pattern, such as 2:4; repeatable")
]
Methods = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="METHODS",
        callback=method_names,
        help="Methods to run, your own ./file.py, or dense",
    ),
]
Workers = Annotated[
    int, typer.Option("--workers", min=1, help="Number of worker processes; each loads the model")
]
Ray = Annotated[
    bool, typer.Option("--ray", help="Run the workers on Ray (the cluster in RAY_ADDRESS)")
]
Seed = Annotated[
    int,
    typer.Option(
        metavar="INTEGER", parser=seed, help="Random seed of the calibration set and the method"
    ),
]
Seeds = Annotated[
    list[int] | None,
    typer.Option(metavar="INTEGER", parser=seed, help="Random seed; repeatable; default: 0"),
]
Recover = Annotated[
    str | None, typer.Option("--recover", help="Fine-tune after pruning: lora, full or distill")
]
TrainTokens = Annotated[
    int | None,
    typer.Option(
        "--tokens",
        help="Training tokens of --recover, rounded up to whole steps; default: 102400",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables")]


def check_arguments(arguments: Sequence[str]) -> None:
    """Raise `BadInput` for an argument that is empty or not UTF-8.

    An empty argument usually comes from an unset shell variable and must not select the default.
    """
    for before, argument in zip(("", *arguments), arguments, strict=False):
        option, equals, value = argument.partition("=")
        if not argument or (argument.startswith("--") and equals and not value):
            name = option or (before if before.startswith("--") else "an argument")
            raise BadInput(f"{in_short(name, 100)} is empty; give a value or leave it out")
        try:
            argument.encode()
        except UnicodeEncodeError as error:
            raise BadInput(f"{in_short(ascii(argument), 100)} is not UTF-8") from error


def home_of(device: str, accelerator: str | None) -> str:
    """Return the device that holds the weights: with an accelerator, `auto` is the CPU."""
    return "cpu" if accelerator and device == "auto" else device


def recovery(how: str | None, tokens: int | None) -> Recovery | None:
    """Build the fine-tuning from --recover and --tokens; raises `BadInput` if they are invalid."""
    if how is None:
        if tokens is not None:
            raise BadInput(
                "--tokens needs --recover; add --recover lora, full or distill, or leave out "
                "--tokens"
            )
        return None
    if how not in get_args(How):
        raise BadInput(f"--recover: {unknown_name(how, get_args(How), 'kind')}")
    if tokens is not None and not 1 <= tokens <= MOST_TOKENS:
        raise BadInput(f"--tokens must be between 1 and {MOST_TOKENS:,}, got {tokens}")
    return Recovery.by(cast(How, how), tokens or TOKENS)


def listed(values: Sequence[str] | None) -> tuple[str, ...]:
    """Split the values of a repeatable option at commas; raises `BadInput` for an empty part."""
    parts = [part.strip() for value in values or () for part in value.split(",")]
    if "" in parts:
        text = in_short(",".join(values or ()), 100)
        raise BadInput(f"{text!r} contains an empty name; remove the extra comma")
    return tuple(parts)
