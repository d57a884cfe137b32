"""Commands for authors of a method: `atlas new`, `atlas check` and `atlas compare`."""

from __future__ import annotations

import keyword
from pathlib import Path
from typing import Annotated

import typer

from implementations.harness.cli import terminal
from implementations.harness.cli.options import (
    Accelerator,
    CalibrateOn,
    Device,
    DType,
    EvaluateOn,
    File,
    Methods,
    Model,
    Patterns,
    Ray,
    Runs,
    Settings,
    Sparsities,
    SweptProtocol,
    Workers,
    expanded_path,
    method_name,
)
from implementations.harness.cli.progress_output import show_progress
from implementations.harness.cli.setup import read_runs
from implementations.harness.errors import BadInput
from implementations.harness.results.external import slug_of
from implementations.harness.results.files import (
    check_writable,
    short_path,
    user_path,
    write_atomically,
)
from implementations.harness.results.store import RUNS

TEMPLATE = Path(__file__).with_name("new_method.py.txt")
OUT = Path("comparison")


def new(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Name of the method, such as mymethod")
    ],
) -> None:
    """Create the file of a working method, to start from."""
    path = user_path(f"{name.removesuffix('.py')}.py", "NAME")
    slug_of(str(path))
    class_name = "".join(word[:1].upper() + word[1:] for word in path.stem.split("_"))
    if not path.stem.isidentifier() or keyword.iskeyword(class_name):
        raise BadInput(
            f"NAME {path.stem!r} cannot be a class name; choose another of letters, digits and _"
        )
    if path.exists():
        raise BadInput(f"{short_path(path)} exists; choose another name")
    write_atomically(path, TEMPLATE.read_text(encoding="utf-8").replace("NAME", class_name))
    terminal.show_paths(method=path)
    file = path if path.is_absolute() else f"./{path}"
    terminal.show_line(f"next: atlas check {file}, then atlas run {file} --sparsity 0.5")


def check(
    method: Annotated[
        str,
        typer.Argument(
            metavar="METHOD", callback=method_name, help="./file.py, package.module:Class or name"
        ),
    ],
) -> None:
    """Run every test of the contract on a method; exit with 1 if one fails."""
    from implementations.harness.contract.checking import check_method
    from implementations.harness.prune.registry import get_method

    chosen = get_method(method)
    chosen.configure()
    with show_progress():
        results = list(check_method(chosen))
    terminal.show_check(results)
    if any(result.failures for result in results):
        raise typer.Exit(1)


def compare(
    methods: Methods = None,
    file: File = None,
    sparsity: Sparsities = None,
    pattern: Patterns = None,
    seeds: Annotated[
        int | None,
        typer.Option(min=1, max=100, help="Number of random seeds, starting at 0; default: 1"),
    ] = None,
    model: Model = None,
    protocol: SweptProtocol = None,
    calibrate_on: CalibrateOn = None,
    evaluate_on: EvaluateOn = None,
    settings: Settings = None,
    device: Device = "auto",
    dtype: DType = None,
    accelerator: Accelerator = None,
    workers: Workers = 1,
    ray: Ray = False,
    out: Annotated[
        Path,
        typer.Option("--out", callback=expanded_path, help="Folder for the tables and the chart"),
    ] = OUT,
    runs: Runs = RUNS,
) -> None:
    """Run the missing combinations of methods and seeds; write a comparison table and a chart."""
    from implementations.harness.results import comparison, table
    from implementations.harness.results.boards import boards

    jobs, setup = read_runs(
        file,
        methods,
        sparsity,
        pattern,
        settings,
        range(seeds) if seeds else None,
        model=model,
        protocol=protocol,
        calibrate_on=calibrate_on,
        evaluate_on=evaluate_on,
        device=device,
        dtype=dtype,
        accelerator=accelerator,
    )
    if not any(job.method for job in jobs):
        raise BadInput("there is nothing to compare; name at least one method besides dense")
    check_writable(out)
    from implementations.harness.runs.sweep import sweep

    with show_progress():
        done = sweep(jobs, setup, runs=runs, count=workers, ray=ray)
    terminal.show_sweep(done, runs)
    for job, error in done.failures:
        terminal.show_error(f"{job}: {error}")
    tables = comparison.compared(boards(done.records))
    terminal.show_comparisons(tables)
    from implementations.harness.results.comparison_chart import draw, to_svg  # slow

    contents = {
        "table.md": comparison.to_markdown(tables),
        "table.tex": comparison.to_latex(tables),
        "table.csv": table.to_csv(table.lines(one.board for one in tables)),
        "chart.svg": to_svg(draw(tables)),
    }
    for name, content in contents.items():
        write_atomically(out / name, content)
    terminal.show_paths(**{Path(name).suffix[1:]: out / name for name in contents})
    if done.failures:
        raise typer.Exit(1)
