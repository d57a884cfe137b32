"""The table of `atlas compare`: methods side by side, for the terminal and for a paper.

Rows are ranked by the rules of `ranking`, with those that compete: of the same requested sparsity
or pattern, all structured or all unstructured, and of the same class.
Needs neither torch nor transformers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from implementations.harness.errors import BadInput
from implementations.harness.results.boards import Board, Row, Spread
from implementations.harness.results.metric import (
    AGREEMENT,
    DIVERGENCE,
    TIE,
    beside,
    percentage,
    subject,
)
from implementations.harness.results.ranking import (
    CLASSES,
    DROPS,
    SEEDS,
    Rank,
    class_of,
    loss,
    ranking_metrics,
    ranks,
)
from implementations.harness.results.record import DENSE

COLUMNS = {
    "rank": "Rank",
    "method": "Method",
    "sparsity": "Sparsity",
    "settings": "Settings",
    "kind": "Class",
    "perplexity": "Perplexity",
    "ratio": "× dense",
    "divergence": "KL",
    "agreement": "Agreement",
    "seconds": "Time (s)",
    "memory": "Peak memory (MB)",
    "decode": "Decode speed",
}
VISIBLE = 0.005
"""Difference between requested and achieved sparsity from which both are shown."""
LEFT = ("method", "sparsity", "settings", "kind")
"""Columns that are aligned on the left."""


@dataclass(frozen=True)
class Line:
    """One method at one sparsity, or the dense model; a value is None if a run lacks it."""

    method: str
    sparsity: str
    """The requested sparsity or pattern, and the achieved one if it differs visibly."""
    settings: str
    """The fields that differ from their defaults."""
    kind: str
    """The class, such as `structured, one-shot`; empty if all rows of a sparsity compete."""
    rank: Rank | None
    """The places it may have among the rows that compete with it; None if it has no loss by the
    rules of `ranking`, for example because it collapsed or trained on a ranking text."""
    perplexity: Spread | None
    ratio: Spread | None
    """Perplexity / dense perplexity of the same run."""
    divergence: Spread | None
    """KL divergence from the dense model, in nats per token."""
    agreement: Spread | None
    """Share of positions with the dense model's most likely token."""
    seconds: Spread | None
    """Time for pruning."""
    memory: float | None
    """Peak memory in bytes, including the model (see `Peak`)."""
    decode: float | None
    """Decoding speed relative to dense."""
    best: bool
    """Whether it is clearly better than all rows that compete with it, of which there are some."""
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class ComparisonTable:
    """The table of one board: the dense model, then the methods of each sparsity by rank."""

    board: Board
    metric: str
    """The perplexity that is shown."""
    lines: tuple[Line, ...]

    @property
    def pruned(self) -> tuple[Line, ...]:
        """The lines without that of the dense model, the first one."""
        return self.lines[1:]

    @property
    def caption(self) -> str:
        """Model, protocol, text, seeds, which rows compete, and what a shared rank means."""
        board = self.board
        dense = board.dense.values[self.metric]
        seeds = {len(row.seeds) for row in board.rows}
        count = f"{min(seeds)}" if len(seeds) == 1 else f"{min(seeds)} to {max(seeds)}"
        spread = (
            "one seed, without a standard deviation"
            if seeds == {1}
            else f"mean ± standard deviation over {count} seeds"
        )
        competing = (
            "Only rows of the same sparsity and class are ranked with each other. "
            if any(line.kind for line in self.lines)
            else ""
        )
        timed = f"Seconds are those on {board.timed_on}. "
        return (
            f"{board.model} ({board.dtype}), protocol {board.protocol}{board.after_clause}, "
            f"{subject(self.metric)}: {spread}. The dense perplexity is {dense:.2f}. KL: "
            "divergence from the dense model in nats per token; agreement: share of positions with "
            f"the dense model's most likely token. {competing}{timed}Rows that share a rank differ "
            f"by at most {100 * TIE:g} % of the loss in nats per token, or, if both have {SEEDS} "
            "seeds or more, by at most the sum of their standard deviations. Bold rows are better "
            "than all that compete with them."
        )


def compared(boards: Sequence[Board]) -> list[ComparisonTable]:
    """Build one table per board; raises `BadInput` if there is nothing to compare."""
    found = [_comparison(board) for board in boards if board.rows]
    if not found:
        raise BadInput(
            "there is nothing to compare, because no method has a record; see the failures above"
        )
    return found


def _comparison(board: Board) -> ComparisonTable:
    metric = ranking_metrics(board)[0]
    groups = _competing(board.rows)
    mixed = len(groups) > len({_share(group[0]) for group in groups})
    lines = [_dense_line(board, metric)]
    for group in groups:
        kind = _kind(group[0]) if mixed else ""
        losses = {i: one for i, row in enumerate(group) if (one := loss(row, board))}
        places = ranks(losses)
        order = sorted(range(len(group)), key=lambda i: losses[i].mean if i in losses else math.inf)
        lines += [_line(group[i], board, kind, metric, places.get(i), len(losses)) for i in order]
    return ComparisonTable(board, metric, tuple(lines))


def _competing(rows: Iterable[Row]) -> list[list[Row]]:
    """Group the rows that compete with each other, as `ranking` defines it."""
    classes = list(CLASSES)
    groups: dict[tuple[float, str, bool, int], list[Row]] = {}
    for row in rows:
        key = (*_share(row), row.first.structured, classes.index(class_of(row)))
        groups.setdefault(key, []).append(row)
    return [groups[key] for key in sorted(groups)]


def _share(row: Row) -> tuple[float, str]:
    """Return the requested sparsity and pattern."""
    return row.first.requested, row.first.pattern or ""


def _kind(row: Row) -> str:
    """Return the class, with how weights were removed where that can differ."""
    kind = class_of(row)
    if row.first.pattern or kind == DROPS:
        return kind
    return f"{'structured' if row.first.structured else 'unstructured'}, {kind}"


def _dense_line(board: Board, metric: str) -> Line:
    return Line(
        method=DENSE,
        sparsity="",
        settings="",
        kind="",
        rank=None,
        perplexity=Spread(board.dense.values[metric]),
        ratio=Spread(1.0),
        divergence=None,
        agreement=None,
        seconds=None,
        memory=None,
        decode=None,
        best=False,
    )


def _line(row: Row, board: Board, kind: str, metric: str, rank: Rank | None, ranked: int) -> Line:
    decode, record = row.rate("decode"), row.first
    missed = abs(row.achieved - record.requested) >= VISIBLE
    versions = {other.first.external for other in board.rows if other.method == row.method}
    settings = record.settings.removeprefix(record.removed).strip()
    if len(versions) == 1:  # otherwise the version of a file is a setting, too
        settings = " ".join(record.changes)
    return Line(
        method=row.method,
        sparsity=record.removed + missed * f" ({percentage(row.achieved)} achieved)",
        settings=settings,
        kind=kind,
        rank=rank,
        perplexity=row.value(metric),
        ratio=row.ratio(metric),
        divergence=row.value(beside(metric, DIVERGENCE)),
        agreement=row.value(beside(metric, AGREEMENT)),
        seconds=row.seconds("prune"),
        memory=row.memory,
        decode=decode.ratio if decode else None,
        best=rank is not None and rank.last == 1 < ranked,
        labels=row.labels,
    )


def cells(line: Line) -> dict[str, str]:
    """Format a line for readers, one text per column."""

    def spread(value: Spread | None, digits: int, factor: float = 1) -> str:
        if value is None:
            return ""
        mean = f"{factor * value.mean:,.{digits}f}"
        if value.deviation is None:
            return mean
        return f"{mean} ± {factor * value.deviation:,.{digits}f}"

    return {
        "rank": str(line.rank or ("collapsed" if "collapsed" in line.labels else "")),
        "method": line.method,
        "sparsity": line.sparsity,
        "settings": line.settings,
        "kind": line.kind,
        "perplexity": spread(line.perplexity, 2),
        "ratio": spread(line.ratio, 2),
        "divergence": spread(line.divergence, 3),
        "agreement": spread(line.agreement, 1, 100) + (" %" if line.agreement else ""),
        "seconds": spread(line.seconds, 0),
        "memory": "" if line.memory is None else f"{line.memory / 1e6:,.0f}",
        "decode": "" if line.decode is None else f"{line.decode:.2f} ×",
    }


def columns(comparison: ComparisonTable) -> list[str]:
    """Return the columns in which some line has a value."""
    rows = [cells(line) for line in comparison.lines]
    return [name for name in COLUMNS if any(row[name] for row in rows)]


def to_markdown(comparisons: Iterable[ComparisonTable]) -> str:
    """Format as Markdown tables with captions; the best rows are bold."""
    tables = []
    for comparison in comparisons:
        names = columns(comparison)
        lines = [[COLUMNS[name] for name in names]]
        for line in comparison.lines:
            texts = [cells(line)[name].replace("|", r"\|") for name in names]
            lines.append([f"**{text}**" if line.best and text else text for text in texts])
        rows = [f"| {' | '.join(texts)} |" for texts in lines]
        rule = "".join("| --- " if name in LEFT else "| --: " for name in names) + "|"
        tables.append("\n".join([rows[0], rule, *rows[1:], "", comparison.caption]))
    return "\n\n".join(tables) + "\n"


LATEX = str.maketrans(
    {
        **{character: f"\\{character}" for character in "&%$#_{}"},
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "\\": r"\textbackslash{}",
        "±": r"$\pm$",
        "×": r"$\times$",
        "–": "--",
    }
)


def to_latex(comparisons: Iterable[ComparisonTable]) -> str:
    """Format as LaTeX tables for the package booktabs; the best rows are bold."""
    tables = []
    for comparison in comparisons:
        names = columns(comparison)
        kinds = "".join("l" if name in LEFT else "r" for name in names)
        head = " & ".join(COLUMNS[name].translate(LATEX) for name in names)
        rows = []
        for line in comparison.lines:
            texts = [cells(line)[name].translate(LATEX) for name in names]
            texts = [rf"\textbf{{{text}}}" if line.best and text else text for text in texts]
            rows.append("  " + " & ".join(texts) + r" \\")
        tables.append(
            "\n".join(
                [
                    r"\begin{table}",
                    r"\centering",
                    rf"\begin{{tabular}}{{{kinds}}}",
                    r"\toprule",
                    rf"  {head} \\",
                    r"\midrule",
                    *rows,
                    r"\bottomrule",
                    r"\end{tabular}",
                    rf"\caption{{{comparison.caption.translate(LATEX)}}}",
                    r"\end{table}",
                ]
            )
        )
    return "% \\usepackage{booktabs}\n" + "\n\n".join(tables) + "\n"
