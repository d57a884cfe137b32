"""The chart of `atlas compare`: the loss of each method with its spread over seeds."""

from __future__ import annotations

import io
from collections.abc import Sequence

from matplotlib.figure import Figure

from implementations.harness.results.comparison import ComparisonTable, Line
from implementations.harness.results.metric import subject

ROW, CHARACTER = 0.3, 0.08  # inches
PLOT = 3.6  # minimum width beside the labels, in inches
LONG = 5.0
"""Ratio of the largest to the smallest value from which the axis is logarithmic."""


def draw(comparisons: Sequence[ComparisonTable]) -> Figure:
    """Draw one panel per table: perplexity relative to dense, mean ± deviation over seeds."""
    counts = [len(comparison.pruned) for comparison in comparisons]
    longest = max(len(_label(line)) for comparison in comparisons for line in comparison.pruned)
    size = max(6.4, PLOT + CHARACTER * longest), sum(ROW * count + 0.9 for count in counts)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(counts), squeeze=False, gridspec_kw={"height_ratios": counts})
    for axes, comparison in zip(panels[:, 0], comparisons, strict=True):
        known = [(line, line.ratio) for line in comparison.pruned if line.ratio]
        places = range(len(known))
        means = [ratio.mean for _, ratio in known]
        axes.errorbar(
            means,
            places,
            xerr=[ratio.deviation or 0.0 for _, ratio in known],
            fmt="o",
            color="#1f5a91",
            capsize=3,
        )
        axes.axvline(1, color="#888888", linewidth=1, linestyle="--")
        axes.set_yticks(places, [_label(line) for line, _ in known])
        axes.invert_yaxis()
        axes.margins(y=0.5 / len(known))
        axes.grid(axis="x", color="#dddddd")
        if max(means) > LONG * min(means):
            axes.set_xscale("log")
        axes.set_xlabel(f"perplexity / dense perplexity, {subject(comparison.metric)}")
        board = comparison.board
        axes.set_title(f"{board.model}, {board.protocol}{board.after_clause}", fontsize="medium")
    return figure


def _label(line: Line) -> str:
    """Name a row: its method, sparsity and settings, and the class if there are several."""
    return "  ".join(filter(None, (line.method, line.sparsity, line.settings, line.kind)))


def to_svg(figure: Figure) -> str:
    """Render the figure as SVG."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    return buffer.getvalue()
