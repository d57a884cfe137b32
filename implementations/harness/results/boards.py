"""The leaderboard: records in, one row a setting out, seeds put together, dense beside.

Needs neither torch nor transformers.
"""

from __future__ import annotations

import csv
import io
import json
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from implementations.harness.errors import BadInput
from implementations.harness.results.record import Footprint, Record


@dataclass(frozen=True)
class Spread:
    """Mean over seeds and sample standard deviation; None where there is one seed."""

    mean: float
    deviation: float | None = None

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Summarise the values of the seeds."""
        deviation = statistics.stdev(values) if len(values) > 1 else None
        return cls(statistics.fmean(values), deviation)

    def __str__(self) -> str:
        spread = "" if self.deviation is None else f" ± {self.deviation:.2g}"
        return f"{self.mean:,.4g}{spread}" if self.mean < 1e4 else f"{self.mean:,.0f}{spread}"


@dataclass(frozen=True)
class Row:
    """One method with one setting under one protocol, over its seeds."""

    protocol: str
    model: str
    dtype: str
    device: str
    method: str
    settings: str
    granularity: str
    sparsity: float
    achieved: float
    seeds: tuple[int, ...]
    values: dict[str, Spread]
    dense: dict[str, float]
    footprint: Footprint
    prefill: float | None
    """Measured tokens/s over the dense model's."""
    decode: float | None
    speed: str
    """What the record says of speed."""
    labels: tuple[str, ...]
    runs: tuple[str, ...]

    @property
    def place(self) -> tuple[str, str, str, str]:
        """What rows must share to be compared."""
        return self.protocol, self.model, self.dtype, self.device

    @property
    def main(self) -> str:
        """The metric that ranks: the first one of the protocol."""
        return next(iter(self.values))

    @property
    def ratio(self) -> float:
        """The main metric over the dense model's."""
        return self.values[self.main].mean / self.dense[self.main]


@dataclass(frozen=True)
class Filter:
    """Which rows to keep; what is left empty keeps all."""

    methods: tuple[str, ...] = ()
    protocols: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    granularities: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 1.0

    def __call__(self, row: Row) -> bool:
        """Say whether the row stays; dense rows stay wherever their protocol and model do."""
        if self.protocols and row.protocol not in self.protocols:
            return False
        if self.models and row.model not in self.models:
            return False
        if row.method == "dense":
            return True
        kinds = row.granularity.split("+")
        return (
            (not self.methods or row.method in self.methods)
            and (not self.granularities or bool(set(kinds) & set(self.granularities)))
            and self.low - 1e-9 <= row.sparsity <= self.high + 1e-9
        )


def rows(records: Iterable[Record]) -> list[Row]:
    """Put the records of each setting together; of two records of one request the newer counts.

    Every protocol and model gets its dense row: the newest dense record, else what the records
    carry.
    """
    newest = {record.key: record for record in sorted(records, key=lambda record: record.date)}
    settings: dict[str, list[Record]] = defaultdict(list)
    for record in newest.values():
        settings[record.group].append(record)
    made = [_row(sorted(group, key=lambda record: record.seed)) for group in settings.values()]
    have = {row.place for row in made if row.method == "dense"}
    for group in settings.values():
        row = _row(group)
        if row.place not in have:
            have.add(row.place)
            made.append(_dense_row(group[-1], row))
    return sorted(
        made, key=lambda row: (row.place, row.method != "dense", row.method, row.settings)
    )


def share_range(text: str) -> tuple[float, float]:
    """Read `0.5` or `0.2-0.5`; raises `BadInput` for what is no range inside [0, 1]."""
    low, dash, high = text.partition("-")
    try:
        found = float(low), float(high if dash else low)
    except ValueError as error:
        raise BadInput(f"{text!r} is no share or range; write 0.5 or 0.2-0.5") from error
    if not 0 <= found[0] <= found[1] <= 1:
        raise BadInput(f"the range {text} is empty or not inside 0-1")
    return found


def order(found: Iterable[Row], by: str = "", *, reverse: bool = False) -> list[Row]:
    """Sort the rows of each protocol and model by `by`, the dense row first.

    `by` is `method`, `sparsity`, `decode`, `parameters` or the beginning of a metric's name; empty
    means the main metric. Rows without the value come last. Raises `BadInput` for anything else.
    """
    found = sorted(found, key=lambda row: row.place)
    value = _sort_value(found, by)
    ordered: list[Row] = []
    for _, comparable in groupby(found, key=lambda row: row.place):
        here = list(comparable)
        pruned = [row for row in here if row.method != "dense"]
        known = [row for row in pruned if value(row) is not None]
        ordered += [row for row in here if row.method == "dense"]
        ordered += sorted(known, key=value, reverse=reverse)
        ordered += [row for row in pruned if value(row) is None]
    return ordered


def metrics(found: Iterable[Row]) -> list[str]:
    """Names of all metrics of the rows, in order of appearance."""
    return list(dict.fromkeys(name for row in found for name in row.values))


def headings(names: Iterable[str]) -> list[str]:
    """The metrics that a table shows: not what lm-eval says beside its values."""
    beside = ("samples/", "version/")
    return [name for name in names if not name.startswith(beside) and "_stderr/" not in name]


def to_dicts(found: Iterable[Row]) -> list[dict[str, Any]]:
    """The rows as plain data, each metric with mean, deviation and dense value."""
    return [
        {
            "protocol": row.protocol,
            "model": row.model,
            "dtype": row.dtype,
            "device": row.device,
            "method": row.method,
            "settings": row.settings,
            "granularity": row.granularity,
            "sparsity": row.sparsity,
            "achieved": row.achieved,
            "seeds": list(row.seeds),
            "values": {
                name: {"mean": v.mean, "deviation": v.deviation, "dense": row.dense.get(name)}
                for name, v in row.values.items()
            },
            "ratio": row.ratio,
            **row.footprint.model_dump(),
            "prefill": row.prefill,
            "decode": row.decode,
            "speed": row.speed,
            "labels": list(row.labels),
            "runs": list(row.runs),
        }
        for row in found
    ]


def to_json(found: Iterable[Row]) -> str:
    """The rows as a JSON array."""
    return json.dumps(to_dicts(found), indent=2, ensure_ascii=False) + "\n"


def to_csv(found: Sequence[Row]) -> str:
    """The rows as CSV, three columns a metric: mean, deviation over seeds, dense."""
    names = metrics(found)
    lines = []
    for line in to_dicts(found):
        values = line.pop("values")
        for name in names:
            value = values.get(name, {})
            line[name] = value.get("mean")
            line[f"{name} deviation"] = value.get("deviation")
            line[f"{name} dense"] = value.get("dense")
        line |= {name: " ".join(map(str, line[name])) for name in ("seeds", "labels", "runs")}
        lines.append(line)
    text = io.StringIO()
    if lines:
        writer = csv.DictWriter(text, fieldnames=list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    return text.getvalue()


def _row(group: Sequence[Record]) -> Row:
    """Put together the records of one setting, in order of seed."""
    last = group[-1]
    names = [name for name in last.values if all(name in record.values for record in group)]
    return Row(
        protocol=last.protocol.name,
        model=last.model.name,
        dtype=last.model.dtype,
        device=last.hardware.accelerator or last.model.device,
        method=last.method,
        settings=last.settings,
        granularity="+".join(last.granularity),
        sparsity=last.asked,
        achieved=statistics.fmean(record.achieved for record in group),
        seeds=tuple(record.seed for record in group),
        values={name: Spread.of([record.values[name] for record in group]) for name in names},
        dense=last.dense.values,
        footprint=last.footprint,
        prefill=_ratio(group, "prefill"),
        decode=_ratio(group, "decode"),
        speed=last.speed.note,
        labels=tuple(dict.fromkeys(label for record in group for label in record.labels)),
        runs=tuple(record.run for record in group),
    )


def _dense_row(record: Record, row: Row) -> Row:
    """The dense row that a record carries."""
    return Row(
        protocol=row.protocol,
        model=row.model,
        dtype=row.dtype,
        device=row.device,
        method="dense",
        settings="",
        granularity="",
        sparsity=0.0,
        achieved=0.0,
        seeds=(0,),
        values={name: Spread(value) for name, value in record.dense.values.items()},
        dense=record.dense.values,
        footprint=record.dense.footprint,
        prefill=None,
        decode=None,
        speed="",
        labels=(),
        runs=(record.dense.run,),
    )


def _ratio(group: Sequence[Record], kind: str) -> float | None:
    rates = [getattr(record.speed, kind) for record in group]
    ratios = [rate.ratio for rate in rates if rate is not None]
    return statistics.fmean(ratios) if ratios else None


def _sort_value(found: Sequence[Row], by: str) -> Callable[[Row], Any]:
    plain: dict[str, Callable[[Row], Any]] = {
        "": lambda row: row.values[row.main].mean,
        "method": lambda row: (row.method, row.sparsity),
        "sparsity": lambda row: row.sparsity,
        "decode": lambda row: row.decode,
        "parameters": lambda row: row.footprint.parameters,
    }
    if by in plain:
        return plain[by]
    name = next((name for name in metrics(found) if name.startswith(by)), None)
    if name is None:
        known = ", ".join([*filter(None, plain), *metrics(found)])
        raise BadInput(f"cannot sort by {by!r}; there are {known}")
    return lambda row: row.values[name].mean if name in row.values else None
