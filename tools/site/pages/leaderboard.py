"""The leaderboard: every measurement, a board for each protocol, model and device."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from implementations.harness.results.record import Record
from tools.site import vega
from tools.site.atlas import Atlas
from tools.site.chart import AGAINST, Drawn, drawn, points, specification
from tools.site.render import Front, render

FRONT = Front(
    "leaderboard.md",
    "Leaderboard",
    "Pruning methods measured on one harness, dense model beside.",
    menu="Leaderboard",
    styles=("css/controls.css", "css/leaderboard.css"),
    scripts=("js/leaderboard.js",),
    sources=("implementations",),
)


@dataclass(frozen=True)
class Shown:
    """A board on the page, with its charts and its name in the address."""

    id: str
    place: str
    drawn: Drawn
    points: list[dict[str, Any]]
    dense: Record | None
    """The record of its dense row, where there is one."""


def pages(atlas: Atlas) -> Iterator[tuple[str, str]]:
    """Yield the leaderboard, and Vega for its charts where there is something to draw."""
    boards = list(_shown(atlas))
    charts = {
        "charts": {against.name: specification(against) for against in AGAINST},
        "boards": {board.id: board.points for board in boards},
    }
    yield (
        FRONT.path,
        render(
            "leaderboard",
            FRONT,
            atlas,
            boards=boards,
            protocols=list(dict.fromkeys(board.drawn.board.protocol for board in boards)),
            against=AGAINST,
            charts=charts,
        ),
    )
    if boards:
        yield "assets/js/vega.js", vega.runtime()


def _shown(atlas: Atlas) -> Iterator[Shown]:
    seen: Counter[str] = Counter()
    dense = {record.run: record for record in atlas.records if record.method == "dense"}
    for board in atlas.boards:
        # A protocol may have changed under its name: its old board then stands beside the new one.
        seen[name := f"{board.protocol}-{board.place}"] += 1
        again = f"-{seen[name]}" * (seen[name] > 1)
        yield Shown(
            id=name + again,
            place=board.place + again,
            drawn=drawn(board, atlas.names),
            points=points(board, atlas.names),
            dense=dense.get(board.dense.run),
        )
