"""Compare: methods side by side, each fact from the entry, the contract's support or a record.

The page holds what entries say of every method. What was measured and claimed grows with records
and papers; it stands in a file for each method, which the script loads once a method is chosen.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from math import isfinite
from typing import Any

from implementations.harness.results.boards import Board, Spread
from implementations.harness.results.boards import Row as Setting
from implementations.harness.results.metric import title
from tools.catalog.schema.paper import Paper
from tools.site.atlas import Atlas, Method
from tools.site.claimed import Report, Table, tables
from tools.site.columns import CHIPS, chip_label
from tools.site.facts import FACETS, code, repository, settings, shares, tied
from tools.site.pages.paper import facets
from tools.site.render import Front, render, safe_address
from tools.site.words import (
    count,
    glossary_address,
    memory,
    number,
    percent,
    record_address,
    seconds,
    venue,
)

FRONT = Front(
    "compare.md",
    "Compare",
    "Pruning methods side by side: what they remove, need and cost, and what they lost here.",
    styles=("css/controls.css", "css/compare.css"),
    scripts=("js/compare.js",),
    sources=("catalog/papers", "implementations"),
    searched=False,
    navigation=True,
)


@dataclass(frozen=True)
class Piece:
    """A few words of a cell, perhaps a link, perhaps with their definition."""

    text: str
    href: str = ""
    definition: str = ""


@dataclass(frozen=True)
class Cell:
    """What a row says of a method; with its number where the least of a row is the best."""

    pieces: tuple[Piece, ...] = ()
    value: float | None = None

    @classmethod
    def of(cls, text: str, href: str = "") -> Cell:
        """A cell of one piece, empty for an empty text."""
        return cls((Piece(text, href),) if text else ())


TIES = Cell.of(
    "the earlier weight goes: another rule, another number", "learn/how-we-measure.html#weights"
)
"""What a number of plain magnitude on the embedded weights depends on: many are of one size."""


@dataclass(frozen=True)
class Row:
    """One row: its label, and its cells by method."""

    label: str
    cells: dict[str, Cell]


@dataclass(frozen=True)
class Group:
    """Rows of one kind under a heading."""

    label: str
    rows: list[Row]
    note: str = ""
    measured: bool = False
    """Whether it says something only where several methods stand in it."""
    claims: str = ""
    """Where its table of claims stands; empty for what is none."""


def pages(atlas: Atlas) -> Iterator[tuple[str, str]]:
    """Yield the page, and for each method a file of what was measured and claimed of it."""
    slugs = sorted(
        (slug for slug, paper in atlas.papers.items() if paper.is_method),
        key=lambda slug: atlas.names[slug].casefold(),
    )
    here = [slug for slug in slugs if slug in atlas.methods]
    said = list(_said(slugs, atlas))
    measured = [group for board in atlas.boards for group in _results(board, here, atlas)]
    claimed = [group for table in tables(atlas) if (group := _claimed(table, slugs, atlas))]
    results = {slug: found for slug in slugs if (found := packed_results(slug, measured + claimed))}
    data = packed(slugs, said, results.keys(), atlas)
    first = list(_results(atlas.boards[0], here, atlas, CHIPS)) if atlas.boards else []
    page = render("compare", FRONT, atlas, groups=said + first, here=here, packed=data)
    yield FRONT.path, page
    for slug, found in results.items():
        yield f"compare/{slug}.json", json.dumps(found, ensure_ascii=False, separators=(",", ":"))


def packed(
    slugs: list[str], groups: list[Group], results: Collection[str], atlas: Atlas
) -> dict[str, Any]:
    """What the page holds for the script; what many cells share is written once, by number."""
    pieces: dict[Piece, int] = {}
    rows = [row for group in groups for row in group.rows]

    def cell(one: Cell) -> list[int]:
        return [pieces.setdefault(piece, len(pieces)) for piece in one.pieces]

    methods = [
        {
            "slug": slug,
            "name": atlas.names[slug],
            "here": slug in atlas.methods,
            "results": slug in results,
            "cells": {i: cell(row.cells[slug]) for i, row in enumerate(rows) if slug in row.cells},
        }
        for slug in slugs
    ]
    return {
        "groups": [
            [group.label, group.note, [row.label for row in group.rows]] for group in groups
        ],
        "methods": methods,
        "pieces": [[piece.text, piece.href, piece.definition] for piece in pieces],
    }


def packed_results(slug: str, groups: list[Group]) -> list[list[Any]]:
    """List what was measured and claimed of one method: groups and rows with their places."""
    made = []
    for place, group in enumerate(groups):
        rows = [
            [order, row.label, [[one.text, one.href] for one in cell.pieces], cell.value]
            for order, row in enumerate(group.rows)
            if (cell := row.cells.get(slug)) and cell.pieces
        ]
        if rows:
            made.append([place, group.label, group.note, group.measured, group.claims, rows])
    return made


def _said(slugs: list[str], atlas: Atlas) -> Iterator[Group]:
    papers = {slug: atlas.papers[slug] for slug in slugs}
    methods = {slug: atlas.methods[slug] for slug in slugs if slug in atlas.methods}
    yield Group("The paper", list(_paper(papers)))
    yield Group("What it does", list(_taxonomy(papers)))
    yield Group("Code", list(_code(papers, methods, atlas.repository)))
    yield Group("Works with", list(_support(methods)), "as the contract's tests found here")


def _results(
    board: Board, methods: list[str], atlas: Atlas, chips: Collection[str] = ()
) -> Iterator[Group]:
    """Yield what a board holds of methods, a group a share; of some shares where they are named."""
    rows = settings(board)
    about = f"{board.title}, perplexity in windows of {board.metrics[0].split('/')[2]}"
    labels = [chip_label(chip) for chip in chips]
    for share in shares(board):
        if not labels or share in labels:
            found = {slug: rows[slug, share] for slug in methods if (slug, share) in rows}
            yield Group(
                f"Measured at {share}", list(_measured(found, board, atlas)), about, measured=True
            )


def _claimed(table: Table, slugs: list[str], atlas: Atlas) -> Group | None:
    """Show a table of claims, what papers say of themselves apart; None with fewer than two."""
    lines = {line.method: line.reports for line in table.lines if line.method in slugs}
    if len(lines) < 2:
        return None
    rows = []
    for label, own in (("In its own paper", True), ("In papers of others", False)):
        found = {slug: [r for r in reports if r.own is own] for slug, reports in lines.items()}
        cells = {slug: _list([_reported(r, atlas) for r in those]) for slug, those in found.items()}
        rows.append(Row(label, {slug: cell for slug, cell in cells.items() if cell.pieces}))
    note = f"{table.metric.name}: {table.metric.definition}"
    return Group(f"Claimed for {table.title}", rows, note, claims=table.address)


def _reported(report: Report, atlas: Atlas) -> str:
    """Write a value with what it depends on, or with the rival that reports it."""
    value = number(report.value)
    if not report.own:
        return f"{value} ({atlas.names.get(report.by, report.reporter)})"
    return f"{value} ({'; '.join(report.settings)})" if report.settings else value


def _paper(papers: dict[str, Paper]) -> Iterator[Row]:
    yield Row("Title", {slug: Cell.of(paper.title) for slug, paper in papers.items()})
    yield Row("Published", {slug: Cell.of(venue(paper)) for slug, paper in papers.items()})
    yield Row("Models", {slug: _list(paper.models or ()) for slug, paper in papers.items()})


def _taxonomy(papers: dict[str, Paper]) -> Iterator[Row]:
    words = {slug: dict(facets(paper)) for slug, paper in papers.items()}
    for _, label in FACETS:
        yield Row(
            label,
            {
                slug: Cell(
                    tuple(
                        Piece(term.label, glossary_address(field, term.word), term.definition)
                        for field, term in found[label]
                    )
                )
                for slug, found in words.items()
                if label in found
            },
        )
    roles = {slug: Cell.of(paper.role) for slug, paper in papers.items() if paper.role}
    yield Row("Role", roles)


def _code(papers: dict[str, Paper], methods: dict[str, Method], address: str) -> Iterator[Row]:
    codes = {slug: there for slug, paper in papers.items() if (there := repository(paper))}
    yield Row(
        "Repository",
        {
            slug: Cell.of(code(papers[slug]), safe_address(there.url))
            for slug, there in codes.items()
        },
    )
    licences = {slug: there.license for slug, there in codes.items() if there.license}
    yield Row("Its licence", {slug: Cell.of(licence) for slug, licence in licences.items()})
    folder = f"{address}/blob/main/implementations"
    yield Row(
        "Here",
        {
            slug: Cell.of(
                f"{slug}.py", f"{folder}/{slug}/{slug}.py" if address else f"papers/{slug}.html"
            )
            for slug in methods
        },
    )
    fidelity = {slug: (papers[slug].fidelity or "").replace("-", " ") for slug in methods}
    yield Row("Fidelity to the paper", {slug: Cell.of(word) for slug, word in fidelity.items()})


def _support(methods: dict[str, Method]) -> Iterator[Row]:
    for kind, label in (
        ("families", "Model families"),
        ("attention", "Attention"),
        ("patterns", "N:M patterns"),
    ):
        found = {slug: method.support.get(kind) or {} for slug, method in methods.items()}
        yield Row(label, {slug: _supported(how) for slug, how in found.items() if how})


def _supported(how: dict[str, str]) -> Cell:
    good = [name for name, verdict in how.items() if verdict == "supported"]
    refused = [f"not {name} ({why})" for name, why in how.items() if why != "supported"]
    return _list([*good, *refused])


def _measured(found: dict[str, Setting], board: Board, atlas: Atlas) -> Iterator[Row]:
    first = board.metrics[0]
    for metric in board.metrics:
        values = {s: value for s, row in found.items() if (value := row.value(metric))}
        yield _means(title(metric), values)
    yield Row("Times dense", {s: _ratio(row, first) for s, row in found.items()})
    yield Row("Equal sizes", {s: TIES for s, row in found.items() if tied(row, atlas)})
    yield Row("Parameters", {s: _parameters(row) for s, row in found.items()})
    fewer = {s: bits for s, row in found.items() if (bits := row.footprint.bits)}
    yield Row("Bits a weight", {s: Cell.of(number(bits)) for s, bits in fewer.items()})
    yield Row("Speed, generating", {s: _speed(row) for s, row in found.items()})
    times = {s: value for s, row in found.items() if (value := row.seconds("prune"))}
    yield _means("Pruning time", times, seconds)
    yield Row("Memory while pruning", {s: Cell.of(memory(row.memory)) for s, row in found.items()})
    yield Row("Records", {s: _records(row) for s, row in found.items()})


def _means(label: str, values: dict[str, Spread], write: Callable[[float], str] = number) -> Row:
    return Row(label, {slug: Cell.of(_spread(value, write)) for slug, value in values.items()})


def _spread(value: Spread, write: Callable[[float], str] = number) -> str:
    mean = write(value.mean)
    return mean if value.deviation is None else f"{mean} ± {write(value.deviation)}"


def _ratio(row: Setting, metric: str) -> Cell:
    ratio = row.ratio(metric)
    if not ratio:
        return Cell()
    pieces = (Piece(_spread(ratio)), *([Piece("collapsed")] if row.collapsed else []))
    return Cell(pieces, None if row.collapsed or not isfinite(ratio.mean) else ratio.mean)


def _parameters(row: Setting) -> Cell:
    zeros = "" if row.first.structured else f", {percent(row.zeros)} zero"
    return Cell.of(count(row.first.footprint.parameters) + zeros)


def _speed(row: Setting) -> Cell:
    rate = row.rate("decode")
    if not rate:
        return Cell.of(row.first.speed.note)
    return Cell.of(f"{number(rate.ratio)} × dense ({number(rate.low)} to {number(rate.high)})")


def _records(row: Setting) -> Cell:
    return Cell(tuple(Piece(f"seed {r.seed}", record_address(r)) for r in row.records))


def _list(words: tuple[str, ...] | list[str]) -> Cell:
    return Cell(tuple(map(Piece, words)))
