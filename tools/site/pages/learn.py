"""Learn: an introduction to pruning, with measurements of real runs."""

from __future__ import annotations

from collections.abc import Iterator

from implementations.harness.results.boards import Row
from implementations.harness.results.ranking import ratio_to_dense
from implementations.harness.results.record import Record
from tools.site import svg_figures
from tools.site.atlas import Atlas
from tools.site.chart import board_charts
from tools.site.glossary import glossary
from tools.site.methods_by_information import SPARSITY, methods_by_information
from tools.site.recovery_results import (
    compare_training,
    draw_before_after,
    methods_that_train,
    recovery_results,
    training_text,
)
from tools.site.render import Front, render

WITHIN = 2
"""Largest ratio to dense at which a speed-up is reported."""
FRONT = Front(
    "learn/index.md",
    "Learn",
    "An introduction to pruning large language models, with measurements of real runs.",
    styles=("css/learn.css",),
    sources=("docs/templates/pages/learn.md", "catalog/vocabulary"),
    toc=True,
    navigation=True,
)


def pages(atlas: Atlas) -> Iterator[tuple[str, str]]:
    """Yield the page."""
    words = glossary(atlas.papers)
    first = next(iter(atlas.boards), None)
    yield (
        FRONT.path,
        render(
            "learn",
            FRONT,
            atlas,
            word={entry.anchor: entry for entries in words.values() for entry in entries},
            board=board_charts(first, atlas.names, up="../") if first else None,
            by_information=methods_by_information(first, atlas) if first else [],
            leaderboard=first,
            sparsity=SPARSITY,
            recoveries=recovery_results(atlas),
            trained=methods_that_train(atlas.boards),
            compared=compare_training(atlas),
            training_text=training_text,
            draw_before_after=draw_before_after,
            masks=svg_figures.picture("masks", atlas.root),
            blocks=svg_figures.picture("blocks", atlas.root),
            figures=svg_figures,
            samples=samples(atlas),
            fastest=fastest(atlas),
            ratio=ratio,
            within=WITHIN,
        ),
    )


def samples(atlas: Atlas) -> list[Record]:
    """Return the dense run and pruned runs of increasing ratio to dense, for their sample texts."""
    first = [r for r in atlas.records if r.protocol.name == "smol" and ranked(r)]
    pruned = sorted((r for r in first if r.method != "dense"), key=ratio)
    dense = [record for record in first if record.method == "dense"]
    if len(pruned) < 3:
        return dense[:1] + pruned
    return [*dense[:1], pruned[0], pruned[len(pruned) // 2], pruned[-1]]


def fastest(atlas: Atlas) -> tuple[Row, float, float] | None:
    """Return the row with the largest decoding speed-up, the speed-up and the ratio to dense.

    Only rows within `WITHIN` take part.
    """
    timed = [
        (row, rate.ratio, quality.mean)
        for board in atlas.boards
        for row in board.rows
        if ranked(row.first)
        and (rate := row.rate("decode"))
        and (quality := ratio_to_dense(row, board))
        and quality.mean <= WITHIN
    ]
    return max(timed, key=lambda one: one[1], default=None)


def ranked(record: Record) -> bool:
    """Return whether a record has the first metric of its protocol; per-prompt runs do not."""
    return record.protocol.metrics[0] in record.values


def ratio(record: Record) -> float:
    """Return perplexity over dense, for the first metric of the protocol."""
    metric = record.protocol.metrics[0]
    return record.values[metric] / record.dense.values[metric]
