"""Terminal output of `atlas`: tables, errors and texts.

All strings are treated as untrusted text: they are escaped and their markup is ignored. Styled text
is built by `styled`.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, JustifyMethod
from rich.markdown import Markdown
from rich.table import Table
from rich.text import Text

from implementations.harness.errors import escape
from implementations.harness.results.metric import (
    AGREEMENT,
    DIVERGENCE,
    PERPLEXITY,
    headings,
    metric,
)
from implementations.harness.results.record import DENSE, EXTERNAL, Rate, Record

if TYPE_CHECKING:  # slow to import, and each needed by one command
    from implementations.harness.cli.describe import Description, Overview
    from implementations.harness.contract.checking import Result
    from implementations.harness.results.boards import Board, Spread
    from implementations.harness.results.comparison import ComparisonTable
    from implementations.harness.runs.record_checks import Comparison
    from implementations.harness.runs.sweep import Summary
    from implementations.harness.runs.verify import Verdict

MAX_ERROR = 2_000
"""Maximum length of an error message."""
DEFINITIONS = (
    "kl: mean KL divergence from the dense model's predictions, nats per token; agreement: share "
    "of tokens with the same most likely prediction. How we measure, on the site, has the formulas."
)


class Screen(Console):
    """A console that escapes every string and ignores markup in it."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Escape a string, also one inside a table."""
        return super().render_str(escape(text), **options | {"markup": False, "emoji": False})


# A pipe has no width; rich would wrap lines at 80 columns.
out = Screen(width=None if sys.stdout.isatty() else 160)
errors = Screen(stderr=True)


def styled(*parts: str | tuple[str, str], lines: bool = False) -> Text:
    """Join strings and (string, style) pairs to a text; `lines` as in `escape`."""
    text = Text()
    for part in parts:
        string, style = (part, "") if isinstance(part, str) else part
        text.append(escape(string, lines=lines), style)
    return text


def show_error(message: str) -> None:
    """Print an error message on standard error."""
    rest = f"... ({len(message) - MAX_ERROR:,} more characters)" if len(message) > MAX_ERROR else ""
    text = f" {message[:MAX_ERROR]}{rest}"
    errors.print(styled(("error:", "bold red"), text), soft_wrap=True)


def show_paths(**paths: Path | None) -> None:
    """Print the paths of written files, each with its name."""
    for name, path in paths.items():
        if path is not None:
            out.print(f"{name}: {path}", highlight=False, soft_wrap=True)


def show_text(prompt: str, text: str, tokens: int, rate: float) -> None:
    """Print a prompt with its continuation, and the tokens per second."""
    out.print(styled(prompt, (text, "bold"), lines=True), soft_wrap=True)
    out.print(f"{tokens} tokens, {rate:,.1f} tokens/s", style="dim", highlight=False)


def show_methods(methods: Sequence[Overview]) -> None:
    """Print a table with one method per row."""
    table = Table(box=None, pad_edge=False)
    for heading in ("method", "removes", "calibration", "description"):
        table.add_column(heading)
    for method in methods:
        removes = ", ".join(method.granularity)
        summary = method.summary.partition("\n")[0]
        table.add_row(method.slug, removes, method.calibration, summary)
    out.print(table)


def show_method(method: Description) -> None:
    """Print one method with its parameters and its differences from the paper."""
    removes = ", ".join(method.granularity)
    heading = f": removes {removes}; calibration: {method.calibration}"
    out.print(styled((method.slug, "bold"), heading))
    out.print(styled(method.summary, lines=True))
    table = Table(box=None, pad_edge=False)
    for heading in ("parameter", "type", "default", "meaning"):
        table.add_column(heading)
    for parameter in method.parameters:
        default = "none" if parameter.default is None else str(parameter.default)
        meaning = styled(parameter.meaning, lines=True)
        table.add_row(parameter.name, parameter.type, default, meaning)
    out.print()
    out.print(table)
    for family, reason in method.refuses.items():
        out.print(f"does not support {family}: {reason}")
    if method.differences:
        out.print()
        out.print("Differences from the paper", style="bold")
        out.print(Markdown(method.differences))


def show_record(record: Record) -> None:
    """Print the values of a run next to those of the dense model."""
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
            "" if dense is None else three_decimals(name, dense),
            three_decimals(name, record.values[name]),
            "" if ratio is None else f"{ratio:.3f}",
        )
    for name, before in (record.recovered.before if record.recovered else {}).items():
        table.add_row(f"{name}, before recovery", "", three_decimals(name, before), "")
    for name in ("parameters", "nonzero", "bytes", "macs"):
        dense, pruned = getattr(record.dense.footprint, name), getattr(record.footprint, name)
        table.add_row(name, f"{dense:,}", f"{pruned:,}", f"{pruned / dense:.3f}" if dense else "")
    if record.footprint.bits is not None:
        table.add_row("bits per weight", "", f"{record.footprint.bits:.3f}", "")
    for name, rate in (("prefill", record.speed.prefill), ("decode", record.speed.decode)):
        if rate is not None:
            table.add_row(
                f"{name}, tokens/s", f"{rate.dense:,.1f}", f"{rate.pruned:,.1f}", spread(rate)
            )
    out.print(table)
    if any(metric(name).kind == DIVERGENCE.kind for name in record.values):
        out.print(DEFINITIONS, style="dim", highlight=False)
    out.print(
        f"sparsity requested {record.requested:.4g}, achieved {record.achieved:.4g}; "
        f"speed: {record.speed.note}"
        f"{'' if record.speed.steady else '; too noisy to publish, measure on an idle machine'}"
    )
    out.print(record.sample, style="dim", highlight=False)
    for label in record.labels:
        out.print(styled((label, "bold red"), f": {LABELS.get(label, '')}"))
    for warning in record.warnings:
        out.print(styled(("warning", "yellow"), f": {warning}"))


LABELS = {
    "collapsed": f"the perplexity is above {PERPLEXITY.collapse} times that of the dense model",
    EXTERNAL: "the method is not part of the atlas, so the record cannot be published",
}


def three_decimals(name: str, value: float) -> str:
    """Format a value with three decimals, unless its metric has a format of its own."""
    written = metric(name).format
    return written(value) if written else f"{value:,.3f}"


def spread(rate: Rate) -> str:
    """Format a ratio with the lowest and highest of the repeats."""
    return f"{rate.ratio:.2f} ({rate.low:.2f} to {rate.high:.2f})"


def show_sweep(done: Summary, runs: Path) -> None:
    """Print the numbers of new, existing and failed runs of a sweep."""
    new = len(done.records) - done.skipped
    out.print(
        f"new records: {new}, already existing: {done.skipped}, failed: {len(done.failures)}; "
        f"folder: {runs}"
    )


def show_comparisons(comparisons: Sequence[ComparisonTable]) -> None:
    """Print one table per comparison, with its caption; the best rows are bold."""
    from implementations.harness.results.comparison import COLUMNS, LEFT, cells, columns

    for comparison in comparisons:
        names = columns(comparison)
        table = Table(box=None, pad_edge=False)
        for name in names:
            side: JustifyMethod = "left" if name in LEFT else "right"
            table.add_column(COLUMNS[name], justify=side, overflow="fold")
        for line in comparison.lines:
            texts = cells(line)
            table.add_row(*(texts[name] for name in names), style="bold" if line.best else "")
        out.print(table)
        out.print(comparison.caption, style="dim", highlight=False)


def show_check(results: Sequence[Result]) -> None:
    """Print the clauses of the contract, and for each that fails what is wrong and what to do."""
    table = Table(box=None, pad_edge=False)
    for heading in ("clause", "promise", "result"):
        table.add_column(heading, overflow="fold")
    for result in results:
        failed = [failure.family for failure in result.failures]
        grade = ("ok", "green") if not failed else ("fails", "bold red")
        where = "" if len(failed) in (0, len(result.families)) else f" for {', '.join(failed)}"
        table.add_row(result.clause, result.promise, styled(grade, where))
    out.print(table)
    for result in results:
        if result.failures:
            first = result.failures[0]
            out.print()
            out.print(styled((result.clause, "bold")))
            show_line(f"  {first.family}: {first.message}")
            show_line(f"  what to do: {result.advice}")


def show_verdict(verdict: Verdict) -> None:
    """Print all values of a record next to the repeated ones, and all other differences."""
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    columns = ("record", "repeated", "difference", "tolerance", "on other machines", "")
    for heading in columns:
        table.add_column(heading, justify="right")
    for one in verdict.comparisons:
        if one.measured:
            numbers = ("missing" if n is None else f"{n:,.6g}" for n in (one.recorded, one.again))
            bounds = (f"{bound:.0e}" for bound in one.bounds)
            grade = styled(styled_grade(one, verdict))
            table.add_row(one.name, *numbers, f"{one.difference:.1e}", *bounds, grade)
    out.print(table)
    others = [one for one in verdict.comparisons if not one.measured]
    different = [one for one in others if one.grade != "narrow"]
    show_line(f"{len(others) - len(different)} other parts of the record agree")
    for one in different:
        show_line(styled_grade(one, verdict), f": {one}")
    for line in (*verdict.changes, *(f"not compared: {line}" for line in verdict.not_compared)):
        show_line((line, "dim"))
    show_line(CONFIRMED[verdict.confirmed])
    if verdict.elsewhere:
        different_here = "; ".join(verdict.elsewhere)
        show_line(f"These parts of the record cannot be checked here: {different_here}")


CONFIRMED = {
    "narrow": "the record is confirmed within the narrow tolerance",
    "wide": "the record is confirmed within the wide tolerance only",
    "no": "the record is not confirmed",
}


def styled_grade(one: Comparison, verdict: Verdict) -> tuple[str, str]:
    """Return the grade of a comparison in words, and its style."""
    if one.grade == "wide" and verdict.elsewhere:
        return "wide only", "yellow"
    return ("agrees", "") if one.grade == "narrow" else ("differs", "bold red")


def show_line(*parts: str | tuple[str, str]) -> None:
    """Print one line without wrapping."""
    out.print(styled(*parts), highlight=False, soft_wrap=True)


def show_boards(boards: Sequence[Board]) -> None:
    """Print one table per board."""
    from implementations.harness.results.ranking import has_divergence

    if not boards:
        out.print("no matching records; create one with `atlas run`")
    for board in boards:
        out.print(board_table(board))
    if any(has_divergence(board) for board in boards):
        out.print(DEFINITIONS, style="dim", highlight=False)


def board_table(board: Board) -> Table:
    """Build the table of a board, with the dense row first."""
    from implementations.harness.results.boards import Spread
    from implementations.harness.results.ranking import (
        beside_dense,
        has_divergence,
        ratio_to_dense,
    )

    names = [name for name in board.metrics if metric(name).relative]
    kinds = (DIVERGENCE, AGREEMENT) if has_divergence(board) else ()
    after = f"after {board.after}" if board.after else ""
    parts = (board.protocol, board.model, board.dtype, board.device, after)
    title = " · ".join(filter(None, parts))
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("method")
    table.add_column("settings", overflow="fold")
    measured = [*names, *(kind.kind for kind in kinds)]
    for heading in ("achieved", *measured, "x dense", "parameters", "decode", "seeds"):
        table.add_column(heading, justify="right", overflow="fold")
    table.add_column("")
    dense = board.dense.values
    table.add_row(
        DENSE,
        "",
        "0.0 %",
        *(mean(Spread(dense[name])) if name in dense else "" for name in names),
        *("" for _ in kinds),
        "1.00",
        f"{board.dense.footprint.parameters / 1e6:,.1f} M",
        style="bold",
    )
    for row in board.rows:
        ratio, rate = ratio_to_dense(row, board), row.rate("decode")
        table.add_row(
            row.method,
            row.settings,
            f"{100 * row.achieved:.1f} %",
            *(mean(value) if (value := row.value(name)) else "" for name in names),
            *(
                mean(value, kind.format) if (value := beside_dense(row, board, kind)) else ""
                for kind in kinds
            ),
            times(ratio.mean) if ratio else "",
            f"{row.footprint.parameters / 1e6:,.1f} M",
            f"{rate.ratio:.2f} x" if rate else "",
            str(len(row.seeds)),
            ", ".join(row.labels),
            style="dim" if row.labels else "",
        )
    return table


def mean(value: Spread, written: Callable[[float], str] | None = None) -> str:
    """Format a mean, with the deviation over the seeds if there are several."""
    if value.deviation is None:
        return (written or number)(value.mean)
    deviation = written(value.deviation) if written else f"{value.deviation:.2g}"
    return f"{(written or number)(value.mean)} ± {deviation}"


def number(value: float) -> str:
    """Format a number with four significant digits; between 1e4 and 1e9 as an integer."""
    return f"{value:,.0f}" if 1e4 <= value < 1e9 else f"{value:,.4g}"


def times(ratio: float) -> str:
    """Format a ratio to the dense value."""
    if not math.isfinite(ratio):
        return "∞"
    return f"{ratio:.2f}" if ratio < 1e6 else f"{ratio:.3g}"
