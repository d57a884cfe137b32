"""Records made comparable: a board for each protocol, model and device, a row for each setting."""

from __future__ import annotations

import math
import re
import statistics
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass

from implementations.harness.results.record import Dense, Record

FAMILIES = ("Single weights", "N:M patterns", "Heads and channels", "Whole blocks")


@dataclass(frozen=True)
class Measure:
    """A value over the seeds of a setting: mean, and sample standard deviation of several."""

    mean: float
    deviation: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Measure:
        """Summarise one value a seed; infinite ones have no deviation."""
        several = len(values) > 1 and all(map(math.isfinite, values))
        return cls(statistics.fmean(values), statistics.stdev(values) if several else None)


@dataclass(frozen=True)
class Row:
    """The runs that differ in nothing but the seed."""

    records: tuple[Record, ...]

    @property
    def first(self) -> Record:
        """The run of the lowest seed, for what all of them share."""
        return self.records[0]

    @property
    def family(self) -> str:
        """What is removed, in the words of `FAMILIES`."""
        if self.first.pattern:
            return FAMILIES[1]
        if not self.first.structured:
            return FAMILIES[0]
        return FAMILIES[3] if self.first.granularity == ("blocks",) else FAMILIES[2]

    @property
    def achieved(self) -> float:
        """The share of the blocks' weights that is gone, mean of the seeds."""
        return statistics.fmean(record.achieved for record in self.records)

    @property
    def missed(self) -> bool:
        """Whether asked and achieved differ in what is shown, as whole units may not add up."""
        return abs(self.achieved - self.first.asked) >= 5e-4

    @property
    def zeros(self) -> float:
        """The share of all parameters that are zero, in the run of the lowest seed."""
        return 1 - self.first.footprint.nonzero / self.first.footprint.parameters

    @property
    def collapsed(self) -> bool:
        """Whether any seed lost the language: the record's own label."""
        return any("collapsed" in record.labels for record in self.records)

    def value(self, metric: str) -> Measure | None:
        """Summarise a measured value over the seeds; None where a run lacks it."""
        return self._over(lambda record: record.values.get(metric))

    def ratio(self, metric: str) -> Measure | None:
        """Summarise a value as a multiple of the dense one of the same run."""
        return self._over(lambda record: _ratio(record, metric))

    def seconds(self, phase: str) -> Measure | None:
        """Summarise the seconds a phase took."""
        return self._over(lambda record: record.seconds.get(phase))

    @property
    def memory(self) -> int:
        """The most bytes in use while pruning, in any of the runs."""
        return max(record.peak.bytes for record in self.records)

    def _over(self, read: Callable[[Record], float | None]) -> Measure | None:
        values = [value for record in self.records if (value := read(record)) is not None]
        return Measure.of(values) if len(values) == len(self.records) else None


@dataclass(frozen=True)
class Board:
    """Rows that may be compared: the same protocol, model, number format and kind of device."""

    protocol: str
    about: str
    model: str
    dtype: str
    device: str
    metrics: tuple[str, ...]
    dense: Dense
    rows: tuple[Row, ...]

    @property
    def title(self) -> str:
        """What tells this board from the others."""
        return f"{self.protocol}: {self.model} on {self.device}"

    @property
    def place(self) -> str:
        """What tells this board from others of its protocol, for an address."""
        words = f"{self.model} {self.dtype} {self.device}".lower()
        return re.sub(r"[^a-z0-9.]+", "-", words).strip("-")

    @property
    def families(self) -> list[tuple[str, list[Row]]]:
        """The rows by what they remove."""
        return [
            (family, rows)
            for family in FAMILIES
            if (rows := [row for row in self.rows if row.family == family])
        ]

    @property
    def seeded(self) -> bool:
        """Whether some row has more than one seed."""
        return any(len(row.records) > 1 for row in self.rows)


def boards(records: Iterable[Record]) -> list[Board]:
    """Sort records into boards: `smol` first, rows by family and then by the first metric.

    Runs of the dense model make no board: their values stand in the records they serve.
    """
    pruned = [record for record in records if record.method != "dense"]
    made = [_board(group) for group in _grouped(pruned, _comparable)]
    return sorted(made, key=lambda board: (board.protocol != "smol", board.title))


def _comparable(record: Record) -> Hashable:
    model = record.model
    return record.protocol.fingerprint, model.sha256 or model.source, model.dtype, _device(record)


def _device(record: Record) -> str:
    return record.hardware.accelerator or "CPU"


def _board(records: list[Record]) -> Board:
    last = records[-1]
    metrics = tuple(last.protocol.metrics)
    rows = [
        Row(tuple(sorted(seeds, key=lambda record: record.seed)))
        for seeds in _grouped(records, lambda record: record.group)
    ]
    return Board(
        protocol=last.protocol.name,
        about=last.protocol.about,
        model=last.model.name,
        dtype=last.model.dtype,
        device=_device(last),
        metrics=metrics,
        dense=last.dense,
        rows=tuple(sorted(rows, key=lambda row: _order(row, metrics[0]))),
    )


def _order(row: Row, metric: str) -> tuple[int, float, float]:
    value = row.value(metric)
    return (
        FAMILIES.index(row.family),
        round(row.first.asked, 3),
        value.mean if value and not math.isnan(value.mean) else math.inf,
    )


def _ratio(record: Record, metric: str) -> float | None:
    value, dense = record.values.get(metric), record.dense.values.get(metric)
    return value / dense if value is not None and dense else None


def _grouped(records: Iterable[Record], key: Callable[[Record], Hashable]) -> list[list[Record]]:
    groups: dict[Hashable, list[Record]] = defaultdict(list)
    for record in records:
        groups[key(record)].append(record)
    return list(groups.values())
