"""Boards as tables: rows chosen and sorted, and every number as JSON or CSV."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from implementations.harness.errors import BadInput, in_short, unknown_name
from implementations.harness.results.boards import Board, Row
from implementations.harness.results.metric import metric
from implementations.harness.results.record import DENSE, Footprint
from implementations.harness.results.visible import cell

Line = dict[str, Any]


@dataclass(frozen=True)
class Filter:
    """Which rows to keep; what is left empty keeps all."""

    methods: tuple[str, ...] = ()
    protocols: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    granularities: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 1.0

    def __call__(self, boards: Iterable[Board]) -> list[Board]:
        """Keep the boards of the protocols and models, each with its dense row, and their rows."""
        return [
            replace(board, rows=tuple(filter(self._row, board.rows)))
            for board in boards
            if (not self.protocols or board.protocol in self.protocols)
            and (not self.models or board.model in self.models)
        ]

    def check(self, boards: Sequence[Board]) -> None:
        """Raise `BadInput` for a name that no record has, with the nearest that one has."""
        rows = [row for board in boards for row in board.rows]
        known = {
            "method": (self.methods, [DENSE, *(row.method for row in rows)]),
            "protocol": (self.protocols, [board.protocol for board in boards]),
            "model": (self.models, [board.model for board in boards]),
            "granularity": (self.granularities, [g for row in rows for g in row.first.granularity]),
        }
        for what, (asked, found) in known.items():
            for name in asked:
                if boards and name not in found:
                    names = sorted(set(found))
                    raise BadInput(f"no record fits: {unknown_name(name, names, what)}")

    def _row(self, row: Row) -> bool:
        kinds = row.first.granularity
        return (
            (not self.methods or row.method in self.methods)
            and (not self.granularities or bool(set(kinds) & set(self.granularities)))
            and self.low - 1e-9 <= row.first.asked <= self.high + 1e-9
        )


def share(text: str) -> float:
    """Read a share such as `0.5` or `50%`; raises `BadInput` unless it is between 0 and 1."""
    number, percent, rest = text.strip().partition("%")
    try:
        found = float(number) / (100 if percent else 1)
    except ValueError:
        found = math.nan
    if rest or not 0 <= found <= 1:
        raise BadInput(
            f"expected a share between 0 and 1, such as 0.5 or 50%, got {in_short(text, 100)!r}"
        )
    return found


def share_range(text: str) -> tuple[float, float]:
    """Read `0.5` or `0.2-0.5`; raises `BadInput` for what is no range inside [0, 1]."""
    low, dash, high = text.partition("-")
    try:
        found = share(low), share(high if dash else low)
    except BadInput:
        found = (1.0, 0.0)
    if found[0] > found[1]:
        raise BadInput(
            "--sparsity: expected a share between 0 and 1 or a range of them, such as 0.5, 50% or "
            f"0.2-0.5, got {in_short(text, 100)!r}"
        )
    return found


def order(boards: Sequence[Board], by: str = "", *, reverse: bool = False) -> list[Board]:
    """Sort the rows of each board by `by`, or the other way round.

    `by` is `method`, `sparsity`, `decode`, `parameters` or the beginning of a metric's name; empty
    means the metric that ranks. The best value of a metric comes first, the least of anything else.
    Rows without the value come last. Raises `BadInput` for anything else.
    """
    return [_ordered(board, _key(boards, board, by), reverse) for board in boards]


def _ordered(board: Board, key: Callable[[Row], Any], reverse: bool) -> Board:
    known = [row for row in board.rows if key(row) is not None]
    missing = [row for row in board.rows if key(row) is None]
    return replace(board, rows=(*sorted(known, key=key, reverse=reverse), *missing))


def _key(boards: Sequence[Board], board: Board, by: str) -> Callable[[Row], Any]:
    plain: dict[str, Callable[[Row], Any]] = {
        "method": lambda row: (row.method, row.first.asked),
        "sparsity": lambda row: row.first.asked,
        "decode": lambda row: (rate := row.rate("decode")) and rate.ratio,
        "parameters": lambda row: row.footprint.parameters,
    }
    if by in plain:
        return plain[by]
    names = dict.fromkeys(name for one in boards for name in one.metrics)
    name = next((name for name in names if name.startswith(by)), None) if by else board.metrics[0]
    if name is None:
        known = ", ".join([*plain, *names])
        raise BadInput(f"cannot sort by {in_short(by, 100)!r}; there are {known}")
    sign = 1 if metric(name).lower_is_better else -1
    return lambda row: (value := row.value(name)) and sign * value.mean


def lines(boards: Iterable[Board]) -> Iterator[Line]:
    """Yield every row as plain data, the dense row of each board first.

    Under `values` stand mean, deviation over seeds, dense value and ratio to dense of each value;
    `ratio` is that of the metric that ranks, `prefill` and `decode` are speeds over the dense
    model's.
    """
    for board in boards:
        yield dense_line(board)
        for row in board.rows:
            yield row_line(board, row)


def row_line(board: Board, row: Row) -> Line:
    """Write one row as plain data."""
    first, time = row.first, row.seconds("prune")
    rates = {kind: row.rate(kind) for kind in ("prefill", "decode")}
    return _line(
        board,
        method=row.method,
        settings=row.settings,
        family=row.family,
        granularity="+".join(first.granularity),
        asked=first.asked,
        achieved=row.achieved,
        seeds=list(row.seeds),
        values={name: _value(row, name) for name in row.names},
        footprint=row.footprint,
        **{kind: rate and rate.ratio for kind, rate in rates.items()},
        prune_seconds=time and time.mean,
        peak_bytes=row.memory,
        speed=first.speed.note,
        labels=list(row.labels),
        runs=[record.run for record in row.records],
    )


def dense_line(board: Board) -> Line:
    """Write the dense row of a board as plain data."""
    values = {
        name: {"mean": value, "deviation": None, "dense": value, "ratio": 1.0}
        for name, value in board.dense.values.items()
    }
    return _line(
        board, method=DENSE, values=values, footprint=board.dense.footprint, runs=[board.dense.run]
    )


def _line(board: Board, *, footprint: Footprint, values: dict[str, Line], **more: Any) -> Line:
    """Put the fields in order; what a row does not say is empty."""
    ranking = values.get(board.metrics[0])
    line: Line = {
        "protocol": board.protocol,
        "protocol_fingerprint": board.newest.protocol.fingerprint,
        "model": board.model,
        "model_sha256": board.newest.model.sha256,
        "dtype": board.dtype,
        "device": board.device,
        "after": board.after,
        "method": "",
        "settings": "",
        "family": "",
        "granularity": "",
        "asked": 0.0,
        "achieved": 0.0,
        "seeds": [0],
        "values": values,
        "ratio": ranking and ranking["ratio"],
        **footprint.model_dump(),
        "bits": footprint.bits,
        "prefill": None,
        "decode": None,
        "prune_seconds": None,
        "peak_bytes": None,
        "speed": "",
        "labels": [],
        "runs": [],
    }
    return line | more


def _value(row: Row, name: str) -> Line:
    value, dense, ratio = row.value(name), row.dense(name), row.ratio(name)
    return {
        "mean": value and value.mean,
        "deviation": value and value.deviation,
        "dense": dense and dense.mean,
        "ratio": ratio.mean if ratio and math.isfinite(ratio.mean) else None,
    }


def to_json(found: Iterable[Line]) -> str:
    """Write lines as a JSON array."""
    return json.dumps(list(found), indent=2, ensure_ascii=False) + "\n"


def to_csv(found: Iterable[Line]) -> str:
    """Write lines as CSV, four columns a value: mean, deviation over seeds, dense, ratio.

    No text in it is obeyed by a terminal, or taken for a formula by a spreadsheet: see `cell`.
    """
    found = list(found)
    names = list(dict.fromkeys(name for line in found for name in line["values"]))
    flat = [dict(_flat(line, names)) for line in found]
    text = io.StringIO()
    if flat:
        writer = csv.DictWriter(text, list(flat[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(flat)
    return text.getvalue()


def _flat(line: Line, names: Sequence[str]) -> Iterator[tuple[str, Any]]:
    for field, content in line.items():
        if field == "values":
            for name in names:
                value = content.get(name, {})
                yield cell(name), value.get("mean")
                for part in ("deviation", "dense", "ratio"):
                    yield cell(f"{name} {part}"), value.get(part)
        else:
            text = " ".join(map(str, content)) if isinstance(content, list) else content
            yield field, cell(text) if isinstance(text, str) else text
