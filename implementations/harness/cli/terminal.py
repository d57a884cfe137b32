"""What `atlas` shows in a terminal: progress with time left, and tables."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markdown import Markdown
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from implementations.harness.progress import reporting
from implementations.harness.results.boards import Board, Spread
from implementations.harness.results.metric import headings
from implementations.harness.results.record import DENSE, Rate, Record

if TYPE_CHECKING:  # it needs torch, and the leaderboard shall not wait for that
    from implementations.harness.cli.describe import Description
    from implementations.harness.results.comparison import Comparison
    from implementations.harness.runs.sweep import Summary
    from implementations.harness.runs.verify import Verdict

# A pipe has no width; what reads from it must not find lines cut at 80 columns.
out = Console(width=None if sys.stdout.isatty() else 160)
errors = Console(stderr=True)


class Bars:
    """Progress bars of nested tasks, gone once they are done."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def start(self, description: str, total: int | None) -> int:
        """Add a bar of `total` steps."""
        return int(self.progress.add_task(escape(description), total=total))

    def advance(self, task: int, steps: int) -> None:
        """Move a bar on."""
        self.progress.advance(TaskID(task), steps)

    def stop(self, task: int) -> None:
        """Take a bar away."""
        self.progress.remove_task(TaskID(task))


@contextmanager
def progress() -> Iterator[None]:
    """Show the progress of everything inside, on the error stream, if that is a terminal."""
    if not errors.is_terminal:
        yield
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=errors, transient=True) as bars, reporting(Bars(bars)):
        yield


def show_error(message: str) -> None:
    """Say on the error stream what went wrong."""
    errors.print(f"[bold red]error:[/] {escape(message)}", highlight=False, soft_wrap=True)


def show_paths(**paths: Path | None) -> None:
    """Say where things were written."""
    for what, path in paths.items():
        if path is not None:
            out.print(f"{what}: {escape(str(path))}", highlight=False, soft_wrap=True)


def show_text(prompt: str, text: str, tokens: int, rate: float) -> None:
    """Show a continued text and how fast it came."""
    out.print(f"{escape(prompt)}[bold]{escape(text)}[/]", highlight=False, soft_wrap=True)
    out.print(f"[dim]{tokens} tokens, {rate:,.1f} tokens/s[/]", highlight=False)


def show_methods(found: Sequence[Description]) -> None:
    """List the methods, one a line."""
    table = Table(box=None, pad_edge=False)
    for heading in ("method", "removes", "calibration", "what it does"):
        table.add_column(heading)
    for one in found:
        removes = ", ".join(one.granularity)
        table.add_row(one.slug, removes, one.calibration, one.summary.partition("\n")[0])
    out.print(table)


def show_method(one: Description) -> None:
    """Show one method with its parameters and its differences from the paper."""
    out.print(
        f"[bold]{one.slug}[/]: removes {', '.join(one.granularity)}; calibration: {one.calibration}"
    )
    out.print(escape(one.summary))
    table = Table(box=None, pad_edge=False)
    for heading in ("parameter", "type", "default", "meaning"):
        table.add_column(heading)
    for parameter in one.parameters:
        default = "none" if parameter.default is None else str(parameter.default)
        table.add_row(parameter.name, escape(parameter.type), default, escape(parameter.meaning))
    out.print()
    out.print(table)
    for family, reason in one.refuses.items():
        out.print(f"not for {family}: {escape(reason)}")
    if one.differences:
        out.print("\n[bold]Differences from the paper[/]")
        out.print(Markdown(one.differences))


def show_record(record: Record) -> None:
    """Show the values of a run beside the dense model's."""
    title = " ".join(filter(None, (record.method, record.settings)))
    table = Table(
        title=f"{title} · {record.model.name} · {record.protocol.name}", title_justify="left"
    )
    table.add_column("")
    for heading in ("dense", "pruned", "pruned / dense"):
        table.add_column(heading, justify="right")
    for name in headings(record.values):
        dense, ratio = record.dense.values.get(name), record.ratio(name)
        table.add_row(
            name,
            "" if dense is None else f"{dense:,.3f}",
            f"{record.values[name]:,.3f}",
            "" if ratio is None else f"{ratio:.3f}",
        )
    for name in ("parameters", "nonzero", "bytes", "macs"):
        dense, pruned = getattr(record.dense.footprint, name), getattr(record.footprint, name)
        table.add_row(name, f"{dense:,}", f"{pruned:,}", f"{pruned / dense:.3f}" if dense else "")
    for name, rate in (("prefill", record.speed.prefill), ("decode", record.speed.decode)):
        if rate is not None:
            table.add_row(
                f"{name}, tokens/s", f"{rate.dense:,.1f}", f"{rate.pruned:,.1f}", spread(rate)
            )
    out.print(table)
    out.print(
        f"sparsity asked {record.asked:.4g}, achieved {record.achieved:.4g}; {record.speed.note}"
    )
    out.print(f"[dim]{escape(record.sample)}[/]", highlight=False)
    for label in record.labels:
        out.print(f"[bold red]{label}[/]: the model no longer predicts text")
    for warning in record.warnings:
        out.print(f"[yellow]warning[/]: {escape(warning)}")


def spread(rate: Rate) -> str:
    """A ratio with the lowest and highest of the repeats."""
    return f"{rate.ratio:.2f} ({rate.low:.2f} to {rate.high:.2f})"


def show_sweep(done: Summary, runs: Path) -> None:
    """Say how much of a sweep there is."""
    new = len(done.records) - done.skipped
    out.print(
        f"{new} new records, {done.skipped} there before, {len(done.failures)} failed: {runs}"
    )


def show_verdict(verdict: Verdict) -> None:
    """Show every value of a record beside its repetition, and all else that is not equal."""
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for heading in ("record", "again", "difference", "tolerance", "elsewhere", ""):
        table.add_column(heading, justify="right")
    for one in verdict.comparisons:
        if one.measured:
            numbers = ("missing" if n is None else f"{n:,.6g}" for n in (one.recorded, one.again))
            bounds = (f"{bound:.0e}" for bound in one.held)
            word = within(one, verdict)
            table.add_row(escape(one.name), *numbers, f"{one.difference:.1e}", *bounds, word)
    out.print(table)
    others = [one for one in verdict.comparisons if not one.measured]
    apart = [one for one in others if one.grade != "narrow"]
    out.print(f"{len(others) - len(apart)} other parts of the record are as they should be")
    for one in apart:
        show_line(f"{within(one, verdict)} {escape(str(one))}")
    for line in (*verdict.changes, *(f"not compared: {line}" for line in verdict.not_compared)):
        show_line(f"[dim]{escape(line)}[/]")
    show_line(CONFIRMED[verdict.confirmed])
    if verdict.elsewhere:
        why = "It says that it was measured elsewhere, which nothing here can check"
        show_line(f"{why}: {escape('; '.join(verdict.elsewhere))}")


CONFIRMED = {
    "narrow": "the record is confirmed within the narrow tolerance",
    "wide": "the record is confirmed within the wide tolerance only",
    "no": "the record is not confirmed",
}


def within(one: Comparison, verdict: Verdict) -> str:
    """Say whether a part of a record counts as repeated."""
    if one.grade == "wide" and verdict.elsewhere:
        return "[yellow]wide only[/]"
    return "agrees" if one.grade == "narrow" else "[bold red]off[/]"


def show_line(text: str) -> None:
    """Show one line as it is, however long."""
    out.print(text, highlight=False, soft_wrap=True)


def show_boards(boards: Sequence[Board]) -> None:
    """Show one table a board."""
    if not boards:
        out.print("no record fits; `atlas run` makes one")
    for board in boards:
        out.print(board_table(board))


def board_table(board: Board) -> Table:
    """Build the table of a board: the dense row, then the others in their order."""
    title = " · ".join((board.protocol, board.model, board.dtype, board.device))
    table = Table(title=escape(title), title_justify="left")
    table.add_column("method")
    table.add_column("settings")
    for heading in ("achieved", *board.metrics, "x dense", "parameters", "decode", "seeds"):
        table.add_column(escape(heading), justify="right")
    table.add_column("")
    dense = board.dense.values
    table.add_row(
        DENSE,
        "",
        "0.0 %",
        *(mean(Spread(dense[name])) if name in dense else "" for name in board.metrics),
        "1.00",
        f"{board.dense.footprint.parameters / 1e6:,.1f} M",
        style="bold",
    )
    for row in board.rows:
        ratio, rate = row.ratio(board.metrics[0]), row.rate("decode")
        table.add_row(
            row.method,
            escape(row.settings),
            f"{100 * row.achieved:.1f} %",
            *(mean(value) if (value := row.value(name)) else "" for name in board.metrics),
            times(ratio.mean) if ratio else "",
            f"{row.footprint.parameters / 1e6:,.1f} M",
            f"{rate.ratio:.2f} x" if rate else "",
            str(len(row.seeds)),
            escape(", ".join(row.labels)),
            style="dim" if row.labels else "",
        )
    return table


def mean(value: Spread) -> str:
    """A mean, with the deviation over the seeds where there are several."""
    spread = "" if value.deviation is None else f" ± {value.deviation:.2g}"
    return f"{number(value.mean)}{spread}"


def number(value: float) -> str:
    """A number with four digits, or all before the point where those are some more."""
    return f"{value:,.0f}" if 1e4 <= value < 1e9 else f"{value:,.4g}"


def times(ratio: float) -> str:
    """A multiple of the dense value."""
    if not math.isfinite(ratio):
        return "∞"
    return f"{ratio:.2f}" if ratio < 1e6 else f"{ratio:.3g}"
