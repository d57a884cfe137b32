"""Learn: pruning from the ground up, with pictures of real runs."""

from __future__ import annotations

from collections.abc import Iterator

from implementations.harness.results.record import Record
from tools.site import figures
from tools.site.atlas import Atlas
from tools.site.chart import drawn
from tools.site.glossary import glossary
from tools.site.looks import SHARE, looks
from tools.site.render import Front, render
from tools.site.repairs import duels, dumbbells, repairs, text_read, trained

WITHIN = 2
"""Largest ratio to dense at which a gain in speed is worth telling."""
FRONT = Front(
    "learn/index.md",
    "Learn",
    "Pruning of large language models from the ground up, with pictures of real runs.",
    styles=("css/learn.css",),
    sources=("docs/templates/pages/learn.md", "catalog/vocabulary"),
    toc=True,
    navigation=True,
)


def pages(atlas: Atlas) -> Iterator[tuple[str, str]]:
    """Yield the page."""
    words = glossary(atlas.papers)
    yield (
        FRONT.path,
        render(
            "learn",
            FRONT,
            atlas,
            word={entry.anchor: entry for entries in words.values() for entry in entries},
            board=drawn(atlas.boards[0], atlas.names, up="../") if atlas.boards else None,
            looks=looks(atlas.boards[0], atlas.papers) if atlas.boards else [],
            leading=atlas.boards[0] if atlas.boards else None,
            share=SHARE,
            repaired=repairs(atlas.boards, atlas.records),
            trainings=trained(atlas.boards),
            duels=duels(atlas.boards),
            text_read=text_read,
            dumbbells=dumbbells,
            masks=figures.picture("masks", atlas.root),
            blocks=figures.picture("blocks", atlas.root),
            figures=figures,
            samples=samples(atlas),
            fastest=fastest(atlas),
            ratio=ratio,
            within=WITHIN,
        ),
    )


def samples(atlas: Atlas) -> list[Record]:
    """Choose runs whose text shows the way down: dense, then ever larger ratios to dense."""
    first = [r for r in atlas.records if r.protocol.name == "smol" and ranked(r)]
    pruned = sorted((r for r in first if r.method != "dense"), key=ratio)
    dense = [record for record in first if record.method == "dense"]
    if len(pruned) < 3:
        return dense[:1] + pruned
    return [*dense[:1], pruned[0], pruned[len(pruned) // 2], pruned[-1]]


def fastest(atlas: Atlas) -> Record | None:
    """Return the run with the largest measured gain in decoding that lost little."""
    timed = [r for r in atlas.records if r.speed.decode and ranked(r) and ratio(r) <= WITHIN]
    return max(timed, key=lambda r: r.speed.decode.ratio if r.speed.decode else 0, default=None)


def ranked(record: Record) -> bool:
    """Whether it has what ranks on its board; what only follows prompts has not."""
    return record.protocol.metrics[0] in record.values


def ratio(record: Record) -> float:
    """Perplexity over dense, by the protocol's first metric."""
    metric = record.protocol.metrics[0]
    return record.values[metric] / record.dense.values[metric]
