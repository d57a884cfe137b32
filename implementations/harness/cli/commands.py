"""The `atlas` command: options in, a call of the harness, tables out.

Exit codes: 0, 1 failed, 2 wrong use, 130 interrupted. A pipe that its reader has closed counts as
failed, quietly. What needs torch is imported inside the commands, so that `atlas --help` and `atlas
leaderboard` answer at once.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from typer.core import TyperGroup

from implementations.harness.cli import terminal
from implementations.harness.cli.options import (
    Accelerator,
    Device,
    DType,
    File,
    Json,
    Model,
    ProtocolName,
    Publish,
    ReadRuns,
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
    TaskFolder,
    Tasks,
    TrainTokens,
    check_arguments,
    listed,
    method_names,
    recovery,
)
from implementations.harness.errors import AtlasError, BadInput
from implementations.harness.progress import track
from implementations.harness.prune import registry
from implementations.harness.results import table
from implementations.harness.results.boards import boards
from implementations.harness.results.places import shown
from implementations.harness.results.protocol import get_protocol
from implementations.harness.results.store import load_record, load_records, published_folders
from implementations.harness.results.visible import visible, visible_json

if TYPE_CHECKING:
    from implementations.harness.runs.job import Setup

RUNS = Path("runs")


# Click's own, or that of the copy of it that newer Typers carry.
UsageError = cast(type[typer.BadParameter], typer.BadParameter.__base__)
LONGEST = 500
"""Characters of what Typer says of an argument, quoting it."""


@contextmanager
def told() -> Iterator[None]:
    """Tell an error of the harness in one message; raises `typer.Exit` with its code."""
    try:
        yield
    except AtlasError as error:
        terminal.show_error(str(error))
        raise typer.Exit(error.exit_code) from error
    except UsageError as error:  # shown by Typer
        error.message = visible(error.message)[:LONGEST]
        raise


class Atlas(TyperGroup):
    """Checks the arguments, and ends with one message and an exit code where something is wrong."""

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **more: Any) -> Any:
        """Read the arguments; raises `typer.Exit` for one that no command can mean."""
        with told():
            check_arguments(args)
            return super().make_context(info_name, args, *rest, **more)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; raises `typer.Exit` with the code of what went wrong."""
        with told():
            return super().invoke(ctx)


app = typer.Typer(
    cls=Atlas,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
    help="Prune language models, measure them on one harness, compare the records.",
)


@app.command()
def methods(
    slug: Annotated[
        str | None, typer.Argument(metavar="[METHOD]", help="One method, with its parameters.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the methods, or show one: parameters with defaults, differences from the paper."""
    from implementations.harness.cli.describe import describe, overview

    if slug is not None:
        one = describe(slug)
        show_json(one.to_dict()) if as_json else terminal.show_method(one)
    elif as_json:
        show_json([describe(slug).to_dict() for slug in registry.methods()])
    else:
        terminal.show_methods([overview(slug) for slug in registry.methods()])


@app.command()
def run(
    method: Slug,
    sparsity: Sparsity = None,
    pattern: Annotated[str | None, typer.Option(help="KEEP:GROUP, such as 2:4.")] = None,
    model: Model = None,
    protocol: ProtocolName = "smol",
    settings: Settings = None,
    recover: Recover = None,
    tokens: TrainTokens = None,
    seed: Seed = 0,
    device: Device = "auto",
    dtype: DType = None,
    accelerator: Accelerator = None,
    save: Save = None,
    tasks: Tasks = None,
    task_folder: TaskFolder = None,
    publish: Publish = False,
    runs: Runs = RUNS,
    as_json: Json = False,
) -> None:
    """Prune a model, measure it beside the dense one, write a record."""
    from implementations.harness.runs import sweep_file as plan
    from implementations.harness.runs.job import make_job

    asked = plan.read_settings(settings or [], shared=(sparsity, pattern) != (None, None))
    if sparsity is not None:
        asked["sparsity"] = sparsity
    if pattern is not None:
        asked["pattern"] = pattern
    job = make_job(method, asked, seed, recovery(recover, tokens))
    setup = make_setup(protocol, model, device, dtype, accelerator, tasks, task_folder)
    from implementations.harness.runs.run import run as do  # slow: imports transformers

    with terminal.progress():
        written = do(job, setup, runs=runs, checkpoint=save, publish=publish)
    if as_json:
        show_json(written.record.to_json())
    else:
        terminal.show_record(written.record)
        terminal.show_paths(record=written.path, model=save)


@app.command()
def sweep(
    methods: Annotated[
        list[str] | None,
        typer.Argument(metavar="[METHODS]...", callback=method_names, help="Methods, and dense."),
    ] = None,
    file: File = None,
    sparsity: Sparsities = None,
    pattern: Annotated[list[str] | None, typer.Option(help="Repeatable.")] = None,
    seed: Seeds = None,
    model: Model = None,
    protocol: Annotated[
        str | None, typer.Option(help="As in `atlas run`; else the file's, else smol.")
    ] = None,
    settings: Settings = None,
    recover: Recover = None,
    tokens: TrainTokens = None,
    device: Device = "auto",
    dtype: DType = None,
    accelerator: Accelerator = None,
    tasks: Tasks = None,
    task_folder: TaskFolder = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes, each with a model.")] = 1,
    ray: Annotated[
        bool, typer.Option("--ray", help="Have them on Ray; RAY_ADDRESS says which cluster.")
    ] = False,
    publish: Publish = False,
    runs: Runs = RUNS,
    as_json: Json = False,
) -> None:
    """Do many runs: methods x settings x seeds, without those that have a record."""
    from implementations.harness.runs import sweep_file as plan

    after = recovery(recover, tokens)
    if file is not None:
        if methods or sparsity or pattern or seed or settings:
            raise BadInput("--file says which runs; leave out methods and their settings")
        whole = plan.read_plan(file).but(protocol=protocol, model=model, dtype=dtype)
        jobs = whole.jobs(after)
        protocol, model, dtype = whole.protocol, whole.model, whole.dtype
    else:
        jobs = plan.jobs_of(
            methods or [], sparsity or [], pattern or [], settings or [], seed or [0], after
        )
    setup = make_setup(protocol or "smol", model, device, dtype, accelerator, tasks, task_folder)
    from implementations.harness.runs.sweep import sweep as do  # slow: imports transformers

    with terminal.progress():
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


@app.command("leaderboard")
def show_leaderboard(
    method: Annotated[list[str] | None, typer.Option(help="Keep these; repeatable.")] = None,
    protocol: Annotated[list[str] | None, typer.Option(help="Keep these; repeatable.")] = None,
    model: Annotated[list[str] | None, typer.Option(help="Keep these; repeatable.")] = None,
    granularity: Annotated[list[str] | None, typer.Option(help="Keep these; repeatable.")] = None,
    sparsity: Annotated[
        str,
        typer.Option(metavar="SHARE|LOW-HIGH", help="Keep this share or range: 0.5, 50%, 0.2-0.5."),
    ] = "0-1",
    sort: Annotated[
        str, typer.Option(help="method, sparsity, decode, parameters or a metric; default: ppl.")
    ] = "",
    reverse: Annotated[bool, typer.Option("--reverse", help="The other way round.")] = False,
    runs: ReadRuns = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV instead of tables.")] = False,
    as_json: Json = False,
) -> None:
    """Compare records: the published ones and those under --runs."""
    wanted = table.Filter(
        listed(method),
        listed(protocol),
        listed(model),
        listed(granularity),
        *table.share_range(sparsity),
    )
    if runs is not None and not runs.is_dir():
        raise BadInput(f"--runs {shown(runs)} is not a folder; give the one that holds the records")
    every = boards(load_records([*published_folders(), runs or RUNS]))
    wanted.check(every)
    found = table.order(wanted(every), sort, reverse=reverse)
    if as_json:
        show_json(table.to_json(table.lines(found)))
    elif as_csv:
        typer.echo(table.to_csv(table.lines(found)), nl=False)
    else:
        terminal.show_boards(found)


@app.command()
def verify(
    record: RecordFile,
    model: Annotated[
        str | None, typer.Option(help="Where the model lies here; default: as recorded.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="Where to run; default: as recorded.")] = None,
    task_folder: TaskFolder = None,
    as_json: Json = False,
) -> None:
    """Run a record again and compare all of it; exit 1 if anything is off."""
    original = load_record(record)
    from implementations.harness.runs.verify import verify as do

    with terminal.progress():
        verdict = do(original, model=model, device=device, task_folder=task_folder)
    show_json(verdict.to_dict()) if as_json else terminal.show_verdict(verdict)
    if not verdict.agrees:
        raise typer.Exit(1)


@app.command()
def migrate(
    records: Annotated[
        list[Path], typer.Argument(metavar="RECORD...", help="Files of the schema before.")
    ],
    model: Annotated[
        str | None, typer.Option(help="Where the model lies here; default: as recorded.")
    ] = None,
) -> None:
    """Bring records of the schema before up to date, each in its place; no value changes."""
    from implementations.harness.runs.migrate import migrate as do

    with terminal.progress():
        done = [path for path in track(records, "records") if do(path, model)]
    for path in done:
        terminal.show_paths(record=path)


@app.command()
def generate(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="A saved model, or any other.")],
    prompt: Annotated[str, typer.Argument(help="The text to continue.")],
    tokens: Annotated[int, typer.Option(min=1, help="New tokens at most.")] = 64,
    device: Device = "auto",
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
    accelerator: Accelerator = None,
    as_json: Json = False,
) -> None:
    """Continue a text greedily and say how many tokens a second that took."""
    from implementations.harness.measure.generation import continuation
    from implementations.harness.model.loading import load_model

    with terminal.progress():
        model = load_model(folder, device=device, dtype=dtype, accelerator=accelerator)
        found = continuation(model, prompt, tokens)
    if as_json:
        show_json(
            {
                "prompt": prompt,
                "text": found.text,
                "tokens": len(found.tokens),
                "tokens_per_second": found.tokens_per_second,
            }
        )
    else:
        terminal.show_text(prompt, found.text, len(found.tokens), found.tokens_per_second)


@app.command()
def support(
    slug: Annotated[
        str | None, typer.Argument(metavar="[METHOD]", help="One method; default: all.")
    ] = None,
) -> None:
    """Find out which families and patterns a method supports; write records/support.json."""
    from implementations.harness.runs.support import write_support

    with terminal.progress():
        written = write_support(slug)
    for path in written:
        terminal.show_paths(support=path)


def make_setup(
    protocol: str,
    model: str | None,
    device: str,
    dtype: str | None,
    accelerator: str | None,
    tasks: list[str] | None,
    task_folder: Path | None,
) -> Setup:
    """Put together where and on what to run; raises `BadInput` where something is missing."""
    from implementations.harness.model.devices import parse_device, parse_dtype
    from implementations.harness.runs.job import Setup

    chosen = get_protocol(protocol)
    source = model or chosen.model
    if source is None:
        raise BadInput(f"the protocol {chosen.name} names no model; give one with --model")
    return Setup(
        model=source,
        protocol=chosen,
        device=str(parse_device(device)),
        dtype=str(parse_dtype(dtype or chosen.dtype)).removeprefix("torch."),
        accelerator=accelerator,
        tasks=listed(tasks),
        task_folder=None if task_folder is None else str(task_folder),
    )


def show_json(value: Any) -> None:
    """Print plain data as JSON, or a text that is JSON already."""
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
    typer.echo(visible_json(text.rstrip("\n"), sys.stdout.encoding))
