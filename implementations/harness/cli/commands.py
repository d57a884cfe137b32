"""The `atlas` command: parses options, calls the harness and prints tables.

Exit codes: 0 success, 1 failure, 2 invalid input, 130 interrupted. A closed output pipe exits with
1 and no message. Modules that need torch are imported inside the commands, so that `atlas --help`
and `atlas leaderboard` start quickly.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib import metadata
from typing import Annotated, Any, cast

import typer
from typer.core import TyperGroup

from implementations.harness.cli import export, own_method, terminal
from implementations.harness.cli.options import (
    Accelerator,
    CalibrateOn,
    Device,
    DType,
    EvaluateOn,
    File,
    Json,
    Methods,
    Model,
    Patterns,
    ProtocolName,
    Publish,
    Ray,
    ReadRuns,
    RecordedModel,
    RecordFile,
    Recover,
    Runs,
    Save,
    Seed,
    Seeds,
    Settings,
    Slug,
    Sparsities,
    Sparsity,
    SweptProtocol,
    TaskFolder,
    Tasks,
    TrainTokens,
    Workers,
    check_arguments,
    home_of,
    listed,
    recovery,
)
from implementations.harness.cli.progress_output import show_progress
from implementations.harness.cli.setup import make_setup, read_runs
from implementations.harness.errors import AtlasError, BadInput, escape, escape_json
from implementations.harness.results.external import installed_methods
from implementations.harness.results.files import short_path
from implementations.harness.results.own_texts import with_own_texts
from implementations.harness.results.processor import use_capability
from implementations.harness.results.protocol import get_protocol
from implementations.harness.results.store import RUNS, load_record, load_records, published_folders
from implementations.harness.results.store import methods as list_methods

# From click, or from the copy of it in newer versions of Typer.
UsageError = cast(type[typer.BadParameter], typer.BadParameter.__base__)
MAX_USAGE_ERROR = 500
"""Maximum length of an error message of Typer, which quotes the argument."""


@contextmanager
def reported_errors() -> Iterator[None]:
    """Print an error of the harness as one message; raises `typer.Exit` with its exit code."""
    try:
        yield
    except AtlasError as error:
        terminal.show_error(str(error))
        raise typer.Exit(error.exit_code) from error
    except UsageError as error:  # printed by Typer
        error.message = escape(error.message)[:MAX_USAGE_ERROR]
        raise


class Atlas(TyperGroup):
    """Command group that checks the arguments and prints errors as one message."""

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **more: Any) -> Any:
        """Check and parse the arguments; raises `typer.Exit` if they are invalid."""
        with reported_errors():
            check_arguments(args)
            return super().make_context(info_name, args, *rest, **more)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; raises `typer.Exit` with the exit code of an error."""
        with reported_errors():
            return super().invoke(ctx)


app = typer.Typer(
    cls=Atlas,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
    help="Prune language models, measure them with one harness, and compare the records.",
)


def show_version(wanted: bool) -> None:
    """Print the version of the package and exit, if `--version` is given."""
    if wanted:
        typer.echo(f"pruning-atlas {metadata.version('pruning-atlas')}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option("--version", callback=show_version, is_eager=True, help="Show the version"),
    ] = False,
) -> None:
    """Read the options before the command."""


@app.command()
def methods(
    slug: Annotated[
        str | None, typer.Argument(metavar="METHOD", help="Method to show; default: list all")
    ] = None,
    as_json: Json = False,
) -> None:
    """List all methods, or show the parameters of one and its differences from the paper."""
    from implementations.harness.cli.describe import describe, description_or_overview, overview

    known = [*list_methods(), *installed_methods()]
    if slug is not None:
        description = describe(slug)
        show_json(asdict(description)) if as_json else terminal.show_method(description)
    elif as_json:
        show_json([asdict(description_or_overview(slug)) for slug in known])
    else:
        terminal.show_methods([overview(slug) for slug in known])


@app.command()
def run(
    method: Slug,
    sparsity: Sparsity = None,
    pattern: Annotated[
        str | None, typer.Option(help="N:M pattern: weights to keep per group, such as 2:4")
    ] = None,
    model: Model = None,
    protocol: ProtocolName = "smol",
    calibrate_on: CalibrateOn = None,
    evaluate_on: EvaluateOn = None,
    settings: Settings = None,
    recover: Recover = None,
    tokens: TrainTokens = None,
    seed: Seed = 0,
    device: Device = "auto",
    dtype: DType = None,
    accelerator: Accelerator = None,
    save: Save = None,
    stream: Annotated[
        bool,
        typer.Option(
            "--stream",
            help="Read one decoder layer at a time from disk, for models larger than memory",
        ),
    ] = False,
    tasks: Tasks = None,
    task_folder: TaskFolder = None,
    publish: Publish = False,
    runs: Runs = RUNS,
    as_json: Json = False,
) -> None:
    """Prune a model, measure it next to the dense one, and write a record."""
    from implementations.harness.runs.job import make_job, read_settings

    parameters = read_settings(settings or [], shared=(sparsity, pattern) != (None, None))
    if sparsity is not None:
        parameters["sparsity"] = sparsity
    if pattern is not None:
        parameters["pattern"] = pattern
    job = make_job(method, parameters, seed, recovery(recover, tokens))
    chosen = with_own_texts(get_protocol(protocol), calibrate_on, evaluate_on or ())
    setup = make_setup(chosen, model, device, dtype, accelerator, tasks, task_folder, stream)
    from implementations.harness.prune.parallel import joined  # slow: imports transformers
    from implementations.harness.runs.run import prune_as_helper
    from implementations.harness.runs.run import run as do

    with joined() as rank:
        if rank > 0:
            prune_as_helper(job, setup)
            return
        with show_progress():
            written = do(job, setup, runs=runs, checkpoint=save, publish=publish)
    if as_json:
        show_json(written.record.to_json())
    else:
        terminal.show_record(written.record)
        terminal.show_paths(record=written.path, model=save)


@app.command()
def sweep(
    methods: Methods = None,
    file: File = None,
    sparsity: Sparsities = None,
    pattern: Patterns = None,
    seed: Seeds = None,
    model: Model = None,
    protocol: SweptProtocol = None,
    calibrate_on: CalibrateOn = None,
    evaluate_on: EvaluateOn = None,
    settings: Settings = None,
    recover: Recover = None,
    tokens: TrainTokens = None,
    device: Device = "auto",
    dtype: DType = None,
    accelerator: Accelerator = None,
    tasks: Tasks = None,
    task_folder: TaskFolder = None,
    workers: Workers = 1,
    ray: Ray = False,
    publish: Publish = False,
    runs: Runs = RUNS,
    as_json: Json = False,
) -> None:
    """Run every combination of methods, settings and seeds that has no record yet."""
    from implementations.harness.results import table
    from implementations.harness.results.boards import boards

    jobs, setup = read_runs(
        file,
        methods,
        sparsity,
        pattern,
        settings,
        seed,
        after=recovery(recover, tokens),
        model=model,
        protocol=protocol,
        calibrate_on=calibrate_on,
        evaluate_on=evaluate_on,
        device=device,
        dtype=dtype,
        accelerator=accelerator,
        tasks=tasks,
        task_folder=task_folder,
    )
    from implementations.harness.runs.sweep import sweep as do  # slow: imports transformers

    with show_progress():
        done = do(jobs, setup, runs=runs, count=workers, ray=ray, publish=publish)
    if as_json:
        show_json([record.model_dump(mode="json") for record in done.records])
    else:
        terminal.show_boards(table.order(boards(done.records)))
        terminal.show_sweep(done, runs)
    for job, error in done.failures:
        terminal.show_error(f"{job}: {error}")
    if done.failures:
        raise typer.Exit(1)


for command in (own_method.new, own_method.check, own_method.compare):
    app.command()(command)


def shown(names: str) -> Any:
    """Return the option that names what the leaderboard shows."""
    return typer.Option(help=f"Comma-separated {names} to show; repeatable")


@app.command("leaderboard")
def show_leaderboard(
    method: Annotated[list[str] | None, shown("methods")] = None,
    protocol: Annotated[list[str] | None, shown("protocols")] = None,
    model: Annotated[list[str] | None, shown("models")] = None,
    granularity: Annotated[
        list[str] | None, shown("kinds of parts (channels, blocks, ...)")
    ] = None,
    sparsity: Annotated[
        str,
        typer.Option(metavar="SHARE|LOW-HIGH", help="Show only this range: 0.5, 50% or 0.2-0.5"),
    ] = "0-1",
    sort: Annotated[
        str,
        typer.Option(
            help="Column to sort by: method, sparsity, decode, parameters, kl, agreement or a "
            "metric such as ppl; default: the first metric"
        ),
    ] = "",
    reverse: Annotated[bool, typer.Option("--reverse", help="Reverse the order")] = False,
    runs: ReadRuns = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV instead of tables")] = False,
    as_json: Json = False,
) -> None:
    """Compare the published records and your own under --runs."""
    from implementations.harness.results import table
    from implementations.harness.results.boards import boards

    wanted = table.Filter(
        listed(method),
        listed(protocol),
        tuple(map(os.path.normpath, listed(model))),
        listed(granularity),
        *table.share_range(sparsity),
    )
    if runs is not None and not runs.is_dir():
        raise BadInput(
            f"--runs: {short_path(runs)} is not a folder; give the folder with the records"
        )
    every = boards(load_records([*published_folders(), runs or RUNS]))
    wanted.check(every)
    selected = table.order(wanted(every), sort, reverse=reverse)
    if as_json:
        show_json(table.to_json(table.lines(selected)))
    elif as_csv:
        typer.echo(table.to_csv(table.lines(selected)), nl=False)
    else:
        terminal.show_boards(selected)


@app.command()
def verify(
    record: RecordFile,
    model: RecordedModel = None,
    device: Annotated[str | None, typer.Option(help="Device; default: as recorded")] = None,
    task_folder: TaskFolder = None,
    as_json: Json = False,
) -> None:
    """Repeat the run of a record and compare all results; exit with 1 if any differs."""
    original = load_record(record)
    if original.hardware.capability is not None:
        use_capability(original.hardware.capability)  # before torch is imported
    from implementations.harness.runs.verify import verify as do

    with show_progress():
        verdict = do(original, model=model, device=device, task_folder=task_folder)
    show_json(verdict.to_dict()) if as_json else terminal.show_verdict(verdict)
    if not verdict.agrees:
        raise typer.Exit(1)


@app.command()
def generate(
    folder: Annotated[
        str,
        typer.Argument(metavar="DIR", help="Folder of a saved model, or any model as in --model"),
    ],
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="Text to continue")],
    tokens: Annotated[int, typer.Option(min=1, help="Maximum number of new tokens")] = 64,
    device: Device = "auto",
    dtype: Annotated[
        str, typer.Option(help="Number format: float32, bfloat16 or float16")
    ] = "float32",
    accelerator: Accelerator = None,
    as_json: Json = False,
) -> None:
    """Continue a text greedily and show the tokens per second."""
    from implementations.harness.measure.generation import continuation
    from implementations.harness.model.loading import load_model

    with show_progress():
        home = home_of(device, accelerator)
        model = load_model(folder, device=home, dtype=dtype, accelerator=accelerator)
        written = continuation(model, prompt, tokens)
    if as_json:
        show_json(
            {
                "prompt": prompt,
                "text": written.text,
                "tokens": len(written.tokens),
                "tokens_per_second": written.tokens_per_second,
            }
        )
    else:
        terminal.show_text(prompt, written.text, len(written.tokens), written.tokens_per_second)


app.command("export-gguf")(export.export_gguf)


def show_json(value: Any) -> None:
    """Print plain data, or a text that already is JSON, as escaped JSON."""
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
    typer.echo(escape_json(text.rstrip("\n"), sys.stdout.encoding))
