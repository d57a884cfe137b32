"""Leaderboards as tables: filtering, sorting, and export to JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from implementations.harness.errors import BadInput, csv_cell, in_short, unknown_name
from implementations.harness.results.boards import Board, Row
from implementations.harness.results.metric import AGREEMENT, DIVERGENCE, metric
from implementations.harness.results.ranking import beside_dense, class_of, ratio_to_dense
from implementations.harness.results.record import DENSE, Footprint

Line = dict[str, Any]


@dataclass(frozen=True)
class Filter:
    """Selection of rows; an empty field selects all."""

    methods: tuple[str, ...] = ()
    protocols: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    granularities: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 1.0

    def __call__(self, boards: Iterable[Board]) -> list[Board]:
        """Return the selected boards with their dense row and the selected rows.

        Boards of which only the dense row is left are omitted, unless `dense` is selected.
        """
        selected = [
            replace(board, rows=tuple(filter(self._row, board.rows)))
            for board in boards
            if (not self.protocols or board.protocol in self.protocols)
            and (not self.models or not {*board.model_names}.isdisjoint(self.models))
        ]
        return [board for board in selected if board.rows or self._keeps_dense_alone]

    @property
    def _keeps_dense_alone(self) -> bool:
        narrowed = self.methods or self.granularities or (self.low, self.high) != (0.0, 1.0)
        return not narrowed or DENSE in self.methods

    def check(self, boards: Sequence[Board]) -> None:
        """Raise `BadInput` for a name that no record has, and suggest the closest one."""
        rows = [row for board in boards for row in board.rows]
        known = {
            "method": (self.methods, [DENSE, *(row.method for row in rows)]),
            "protocol": (self.protocols, [board.protocol for board in boards]),
            "model": (self.models, [name for board in boards for name in board.model_names]),
            "granularity": (self.granularities, [g for row in rows for g in row.first.granularity]),
        }
        for what, (requested, existing) in known.items():
            for name in requested:
                if boards and name not in existing:
                    names = sorted(set(existing))
                    raise BadInput(f"no matching record: {unknown_name(name, names, what)}")

    def _row(self, row: Row) -> bool:
        kinds = row.first.granularity
        return (
            (not self.methods or row.method in self.methods)
            and (not self.granularities or bool(set(kinds) & set(self.granularities)))
            and self.low - 1e-9 <= row.first.requested <= self.high + 1e-9
        )


def share(text: str) -> float:
    """Parse a share such as `0.5` or `50%`; raises `BadInput` unless it is between 0 and 1."""
    number, percent, rest = text.strip().partition("%")
    try:
        value = float(number) / (100 if percent else 1)
    except ValueError:
        value = math.nan
    if rest or not 0 <= value <= 1:
        raise BadInput(
            f"expected a number between 0 and 1, such as 0.5 or 50%, got {in_short(text, 100)!r}"
        )
    return value


def share_range(text: str) -> tuple[float, float]:
    """Parse `0.5` or `0.2-0.5`; raises `BadInput` unless it is a range within [0, 1]."""
    low, dash, high = text.partition("-")
    try:
        values = share(low), share(high if dash else low)
    except BadInput:
        values = (1.0, 0.0)
    if values[0] > values[1]:
        raise BadInput(
            "--sparsity: expected a number between 0 and 1 or a range, such as 0.5, 50% or "
            f"0.2-0.5, got {in_short(text, 100)!r}"
        )
    return values


def order(boards: Sequence[Board], by: str = "", *, reverse: bool = False) -> list[Board]:
    """Sort the rows of each board by `by`.

    `by` is `method`, `sparsity`, `decode`, `parameters`, `kl`, `agreement`, the beginning of a
    metric's name, or empty for the ranking metric; raises `BadInput` for anything else. The best
    value of a metric comes first, the lowest of any other column; rows without a value come last.
    `reverse` reverses the rows that have a value.
    """
    return [_ordered(board, _key(boards, board, by), reverse) for board in boards]


def _ordered(board: Board, key: Callable[[Row], Any], reverse: bool) -> Board:
    known = [row for row in board.rows if key(row) is not None]
    missing = [row for row in board.rows if key(row) is None]
    return replace(board, rows=(*sorted(known, key=key, reverse=reverse), *missing))


def _key(boards: Sequence[Board], board: Board, by: str) -> Callable[[Row], Any]:
    plain: dict[str, Callable[[Row], Any]] = {
        "method": lambda row: (row.method, row.first.requested),
        "sparsity": lambda row: row.first.requested,
        "decode": lambda row: (rate := row.rate("decode")) and -rate.ratio,
        "parameters": lambda row: row.footprint.parameters,
        DIVERGENCE.kind: lambda row: (value := beside_dense(row, board, DIVERGENCE)) and value.mean,
        AGREEMENT.kind: lambda row: (value := beside_dense(row, board, AGREEMENT)) and -value.mean,
    }
    if by in plain:
        return plain[by]
    names = dict.fromkeys(name for one in (board, *boards) for name in one.metrics)
    name = next((name for name in names if name.startswith(by)), None) if by else board.metrics[0]
    if name is None:
        known = ", ".join([*plain, *names])
        raise BadInput(f"--sort: unknown column {in_short(by, 100)!r}; choose one of {known}")
    sign = 1 if metric(name).lower_is_better else -1
    return lambda row: (value := row.value(name)) and sign * value.mean


def lines(boards: Iterable[Board]) -> Iterator[Line]:
    """Yield every row as plain data, the dense row of each board first.

    `values` holds the mean, deviation over seeds, dense value and ratio to dense of each value;
    of divergence and agreement, which already compare with the dense model, only the first two.
    `ratio` is the mean ratio over the ranking texts, `prefill` and `decode` are speeds relative to
    dense.
    """
    for board in boards:
        yield dense_line(board)
        for row in board.rows:
            yield row_line(board, row)


def row_line(board: Board, row: Row) -> Line:
    """Convert one row to plain data."""
    first, time, loss = row.first, row.seconds("prune"), ratio_to_dense(row, board)
    rates = {kind: row.rate(kind) for kind in ("prefill", "decode")}
    return _line(
        board,
        method=row.method,
        settings=row.settings,
        family=row.family,
        **{"class": class_of(row)},
        granularity="+".join(first.granularity),
        requested=first.requested,
        achieved=row.achieved,
        seeds=list(row.seeds),
        values={name: _value(row, name) for name in row.names},
        footprint=row.footprint,
        ratio=loss.mean if loss and math.isfinite(loss.mean) else None,
        **{kind: rate and rate.ratio for kind, rate in rates.items()},
        prune_seconds=time and time.mean,
        peak_bytes=row.memory,
        speed=first.speed.note,
        labels=list(row.labels),
        runs=[record.run for record in row.records],
    )


def dense_line(board: Board) -> Line:
    """Convert the dense row of a board to plain data."""
    values = {
        name: {"mean": value, "deviation": None}
        | ({"dense": value, "ratio": 1.0} if metric(name).relative else {})
        for name, value in board.dense.values.items()
    }
    return _line(
        board,
        method=DENSE,
        values=values,
        ratio=1.0,
        footprint=board.dense.footprint,
        runs=[board.dense.run],
    )


def _line(board: Board, *, footprint: Footprint, values: dict[str, Line], **more: Any) -> Line:
    """Build a line with all fields in a fixed order; missing ones are empty."""
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
        "class": "",
        "granularity": "",
        "requested": 0.0,
        "achieved": 0.0,
        "seeds": [0],
        "values": values,
        "ratio": None,
        **footprint.model_dump(),
        "weights": footprint.weights,
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
    own = {"mean": value and value.mean, "deviation": value and value.deviation}
    if not metric(name).relative:
        return own
    return own | {
        "dense": dense and dense.mean,
        "ratio": ratio.mean if ratio and math.isfinite(ratio.mean) else None,
    }


def to_json(rows: Iterable[Line]) -> str:
    """Format lines as a JSON array."""
    return json.dumps(list(rows), indent=2, ensure_ascii=False) + "\n"


def to_csv(rows: Iterable[Line]) -> str:
    """Format lines as CSV, with one column for each number in `values`.

    Texts are escaped by `csv_cell`.
    """
    rows = list(rows)
    names = list(dict.fromkeys(name for line in rows for name in line["values"]))
    flat = [dict(_flat(line, names)) for line in rows]
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
                yield csv_cell(name), value.get("mean")
                parts = ("deviation", "dense", "ratio") if metric(name).relative else ("deviation",)
                for part in parts:
                    yield csv_cell(f"{name} {part}"), value.get(part)
        else:
            text = " ".join(map(str, content)) if isinstance(content, list) else content
            yield field, csv_cell(text) if isinstance(text, str) else text
