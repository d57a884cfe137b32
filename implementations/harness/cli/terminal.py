"""What `atlas` shows in a terminal: progress with time left, and tables.

A string that is shown is taken for text of others, whoever wrote it: it is spelled out as `visible`
does, and no markup in it is read. What is styled here is put together by `styled`.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markdown import Markdown
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from implementations.harness.progress import reporting
from implementations.harness.results.boards import Board, Spread
from implementations.harness.results.metric import headings
from implementations.harness.results.record import DENSE, Rate, Record
from implementations.harness.results.visible import visible

if TYPE_CHECKING:  # it needs torch, and the leaderboard shall not wait for that
    from implementations.harness.cli.describe import Description, Overview
    from implementations.harness.results.comparison import Comparison
    from implementations.harness.runs.sweep import Summary
    from implementations.harness.runs.verify import Verdict

LONGEST = 2_000
"""Characters of an error that are shown."""


class Screen(Console):
    """A console on which no string is obeyed: neither codes nor markup, wherever it stands."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Make of any string, also one in a table, the text that is shown."""
        return super().render_str(visible(text), **options | {"markup": False, "emoji": False})


# A pipe has no width; what reads from it must not find lines cut at 80 columns.
out = Screen(width=None if sys.stdout.isatty() else 160)
errors = Screen(stderr=True)


def styled(*parts: str | tuple[str, str], lines: bool = False) -> Text:
    """Put a text together of strings, and of strings with a style; `lines` as in `visible`."""
    text = Text()
    for part in parts:
        words, style = (part, "") if isinstance(part, str) else part
        text.append(visible(words, lines=lines), style)
    return text


class Bars:
    """Progress bars of nested tasks, gone once they are done."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def start(self, description: str, total: int | None) -> int:
        """Add a bar of `total` steps."""
        return int(self.progress.add_task(visible(description), total=total))

    def advance(self, task: int, steps: int) -> None:
        """Move a bar on."""
        self.progress.advance(TaskID(task), steps)

    def describe(self, task: int, description: str) -> None:
        """Change the words beside a bar."""
        self.progress.update(TaskID(task), description=visible(description))

    def stop(self, task: int) -> None:
        """Take a bar away."""
        self.progress.remove_task(TaskID(task))


@contextmanager
def progress() -> Iterator[None]:
    """Show the progress of everything inside, on the error stream, if that is a terminal."""
    if not errors.is_terminal:
        yield
        return
    with Progress(*columns(), console=errors, transient=True) as bars, reporting(Bars(bars)):
        yield


def columns() -> tuple[ProgressColumn, ...]:
    """What a bar consists of."""
    return (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(compact=True),
    )


def show_error(message: str) -> None:
    """Say on the error stream what went wrong."""
    more = f"... ({len(message) - LONGEST:,} characters more)" if len(message) > LONGEST else ""
    words = f" {message[:LONGEST]}{more}"
    errors.print(styled(("error:", "bold red"), words), soft_wrap=True)


def show_paths(**paths: Path | None) -> None:
    """Say where things were written."""
    for what, path in paths.items():
        if path is not None:
            out.print(f"{what}: {path}", highlight=False, soft_wrap=True)


def show_text(prompt: str, text: str, tokens: int, rate: float) -> None:
    """Show a continued text, line by line as it is, and how fast it came."""
    out.print(styled(prompt, (text, "bold"), lines=True), soft_wrap=True)
    out.print(f"{tokens} tokens, {rate:,.1f} tokens/s", style="dim", highlight=False)


def show_methods(found: Sequence[Overview]) -> None:
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
    removes = ", ".join(one.granularity)
    out.print(styled((one.slug, "bold"), f": removes {removes}; calibration: {one.calibration}"))
    out.print(styled(one.summary, lines=True))
    table = Table(box=None, pad_edge=False)
    for heading in ("parameter", "type", "default", "meaning"):
        table.add_column(heading)
    for parameter in one.parameters:
        default = "none" if parameter.default is None else str(parameter.default)
        meaning = styled(parameter.meaning, lines=True)
        table.add_row(parameter.name, parameter.type, default, meaning)
    out.print()
    out.print(table)
    for family, reason in one.refuses.items():
        out.print(f"not for {family}: {reason}")
    if one.differences:
        out.print()
        out.print("Differences from the paper", style="bold")
        out.print(Markdown(one.differences))


def show_record(record: Record) -> None:
    """Show the values of a run beside the dense model's."""
    after = f"after {record.recovery}" if record.recovery else ""
    title = " ".join(filter(None, (record.method, record.settings, after)))
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
    for name, before in (record.recovered.before if record.recovered else {}).items():
        table.add_row(f"{name}, before recovery", "", f"{before:,.3f}", "")
    for name in ("parameters", "nonzero", "bytes", "macs"):
        dense, pruned = getattr(record.dense.footprint, name), getattr(record.footprint, name)
        table.add_row(name, f"{dense:,}", f"{pruned:,}", f"{pruned / dense:.3f}" if dense else "")
    if record.footprint.bits is not None:
        table.add_row("bits a weight", "", f"{record.footprint.bits:.3f}", "")
    for name, rate in (("prefill", record.speed.prefill), ("decode", record.speed.decode)):
        if rate is not None:
            table.add_row(
                f"{name}, tokens/s", f"{rate.dense:,.1f}", f"{rate.pruned:,.1f}", spread(rate)
            )
    out.print(table)
    out.print(
        f"sparsity asked {record.asked:.4g}, achieved {record.achieved:.4g}; {record.speed.note}"
    )
    out.print(record.sample, style="dim", highlight=False)
    for label in record.labels:
        out.print(styled((label, "bold red"), ": the model no longer predicts text"))
    for warning in record.warnings:
        out.print(styled(("warning", "yellow"), f": {warning}"))


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
            word = styled(within(one, verdict))
            table.add_row(one.name, *numbers, f"{one.difference:.1e}", *bounds, word)
    out.print(table)
    others = [one for one in verdict.comparisons if not one.measured]
    apart = [one for one in others if one.grade != "narrow"]
    show_line(f"{len(others) - len(apart)} other parts of the record are as they should be")
    for one in apart:
        show_line(within(one, verdict), f" {one}")
    for line in (*verdict.changes, *(f"not compared: {line}" for line in verdict.not_compared)):
        show_line((line, "dim"))
    show_line(CONFIRMED[verdict.confirmed])
    if verdict.elsewhere:
        why = "It says that it was measured elsewhere, which nothing here can check"
        show_line(f"{why}: {'; '.join(verdict.elsewhere)}")


CONFIRMED = {
    "narrow": "the record is confirmed within the narrow tolerance",
    "wide": "the record is confirmed within the wide tolerance only",
    "no": "the record is not confirmed",
}


def within(one: Comparison, verdict: Verdict) -> tuple[str, str]:
    """Say, and in which style, whether a part of a record counts as repeated."""
    if one.grade == "wide" and verdict.elsewhere:
        return "wide only", "yellow"
    return ("agrees", "") if one.grade == "narrow" else ("off", "bold red")


def show_line(*parts: str | tuple[str, str]) -> None:
    """Show one line as it is, however long."""
    out.print(styled(*parts), highlight=False, soft_wrap=True)


def show_boards(boards: Sequence[Board]) -> None:
    """Show one table a board."""
    if not boards:
        out.print("no record fits; `atlas run` makes one")
    for board in boards:
        out.print(board_table(board))


def board_table(board: Board) -> Table:
    """Build the table of a board: the dense row, then the others in their order."""
    title = " · ".join((board.protocol, board.model, board.dtype, board.device))
    table = Table(title=title, title_justify="left")
    table.add_column("method")
    table.add_column("settings")
    for heading in ("achieved", *board.metrics, "x dense", "parameters", "decode", "seeds"):
        table.add_column(heading, justify="right")
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
            row.settings,
            f"{100 * row.achieved:.1f} %",
            *(mean(value) if (value := row.value(name)) else "" for name in board.metrics),
            times(ratio.mean) if ratio else "",
            f"{row.footprint.parameters / 1e6:,.1f} M",
            f"{rate.ratio:.2f} x" if rate else "",
            str(len(row.seeds)),
            ", ".join(row.labels),
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
