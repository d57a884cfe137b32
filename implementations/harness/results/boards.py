"""Leaderboards: groups of comparable records, aggregated over seeds, for terminal and site.

- A **board** holds the records that agree in the protocol's fingerprint, the hashes of the
  evaluation texts and of the model (weights, configuration, tokenizer), the number format, the
  device and the fine-tuning after pruning. Its dense row had the same fine-tuning, unless the dense
  model was the teacher. Methods that prune for a prompt have boards of their own because they are
  measured after the prompt.
- Of two records with the same key, only the newer counts.
- A **row** holds the runs that only differ in the seed.
- A **value** of a row is the mean over its seeds, with the sample standard deviation if there are
  several. A row has a value only if all its runs have it.
- The **ratio to dense** is the mean over seeds of each run's value divided by the dense value of
  the *same* run, because the dense values of other machines or versions differ. Speed ratios are
  averaged in the same way.
- **Seconds** of a board are those of one machine with one number of threads, that with most rows.
- Memory is the maximum over the runs. A row is *collapsed* if the mean over its seeds is, and has
  every other label of its runs. The footprint and everything that does not depend on the seed come
  from the run with the lowest seed.
- Results that are pruned and quantised form a **family** of their own and are never ranked with
  results that are only pruned. So do methods that drop activations and remove no weights.
- The **dense row** is the newest record of the dense model, or else the dense values in the newest
  record. It is only shown; no ratio uses it.

Needs neither torch nor transformers.
"""

from __future__ import annotations

import math
import os
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace

from implementations.harness.results.metric import (
    AFTER_PROMPT,
    headings,
    metric,
    subject,
    title,
)
from implementations.harness.results.protocol import Recovery
from implementations.harness.results.record import DENSE, EXTERNAL, Dense, Footprint, Rate, Record

CPU = "CPU"
QUANTISED = "Pruned and quantised"
ACTIVATIONS = "Activations"
EXPERTS = "Experts"
FAMILIES = (
    "Single weights",
    "N:M patterns",
    "Heads and channels",
    "Whole blocks",
    QUANTISED,
    ACTIVATIONS,
    EXPERTS,
)


@dataclass(frozen=True)
class Spread:
    """Mean over the seeds, and the sample standard deviation if there are several."""

    mean: float
    deviation: float | None = None

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Summarise one value per seed; there is no deviation if it would overflow."""
        mean = statistics.mean(values)
        if len(values) < 2 or not math.isfinite(mean):
            return cls(mean)
        try:
            return cls(mean, statistics.stdev(values))
        except OverflowError:
            return cls(mean)


@dataclass(frozen=True)
class Row:
    """The runs that only differ in the seed, ordered by it."""

    records: tuple[Record, ...]
    processor: str
    """The processor of most runs of the board; speeds of other processors are left out."""
    timed_on: str
    """The machine and threads of most rows of the board; seconds of other machines are left out."""

    @property
    def first(self) -> Record:
        """The run with the lowest seed, for the fields that all runs share."""
        return self.records[0]

    @property
    def method(self) -> str:
        """The method's slug."""
        return self.first.method

    @property
    def settings(self) -> str:
        """Readable settings, as in `Record.settings`."""
        return self.first.settings

    @property
    def family(self) -> str:
        """The entry of `FAMILIES` that the row belongs to."""
        if self.footprint.bits is not None:
            return QUANTISED
        if self.first.pattern:
            return FAMILIES[1]
        if not self.first.structured:
            return FAMILIES[0]
        if self.first.granularity == ("activations",):
            return ACTIVATIONS
        if "experts" in self.first.granularity:
            return EXPERTS
        return FAMILIES[3] if self.first.granularity == ("blocks",) else FAMILIES[2]

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds, in order."""
        return tuple(record.seed for record in self.records)

    @property
    def achieved(self) -> float:
        """Share of the decoder's weights that was removed, mean over the seeds."""
        return statistics.mean(record.achieved for record in self.records)

    @property
    def missed(self) -> bool:
        """Whether asked and achieved share differ visibly, since units may not add up exactly."""
        return abs(self.achieved - self.first.requested) >= 5e-4

    @property
    def footprint(self) -> Footprint:
        """Footprint of the run with the lowest seed."""
        return self.first.footprint

    @property
    def zeros(self) -> float:
        """Share of zeros among all parameters."""
        size = self.footprint
        return 1 - size.nonzero / size.parameters if size.parameters else 0.0

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the row; `collapsed` is judged by the mean over the seeds."""
        labels = {"collapsed": self.collapsed, EXTERNAL: self.first.external is not None}
        return tuple(label for label, holds in labels.items() if holds)

    @property
    def collapsed(self) -> bool:
        """Whether the mean over the seeds of a value has collapsed (see `Metric.collapse`)."""
        return any(
            (ratio := self.ratio(name)) is not None and metric(name).collapsed(ratio.mean, 1)
            for name in self.first.values
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the values that every run has."""
        return tuple(name for name in self.first.values if self.value(name))

    def value(self, name: str) -> Spread | None:
        """Summarise a value over the seeds; None if a run lacks it."""
        return self._over(lambda record: record.values.get(name))

    def dense(self, name: str) -> Spread | None:
        """Summarise the dense values of the runs."""
        return self._over(lambda record: record.dense.values.get(name))

    def before(self, name: str) -> Spread | None:
        """Summarise a value before the fine-tuning; None without fine-tuning."""
        return self._over(
            lambda record: record.recovered.before.get(name) if record.recovered else None
        )

    def ratio(self, name: str) -> Spread | None:
        """Summarise the ratio of a value to the dense value of the same run."""
        return self._over(lambda record: record.ratio(name))

    def seconds(self, phase: str) -> Spread | None:
        """Summarise the duration of a phase; None without `times`."""
        times = self.times(phase)
        return Spread.of(times) if times else None

    def times(self, phase: str) -> list[float]:
        """List the seconds of a phase, one per seed that ran on `timed_on`."""
        alike = [one for one in self.records if one.hardware.timing == self.timed_on]
        return [value for one in alike if (value := one.seconds.get(phase)) is not None]

    def rate(self, kind: str) -> Rate | None:
        """Average `prefill` or `decode` over the runs, with the extreme ratios of any repeat.

        None if a run lacks it, was disturbed (see `Speed.steady`) or used another processor.
        """
        if self.other_processors:
            return None
        rates = [rate for record in self.records if (rate := getattr(record.speed, kind))]
        if len(rates) < len(self.records) or not all(one.speed.steady for one in self.records):
            return None
        return Rate(
            dense=statistics.mean(rate.dense for rate in rates),
            pruned=statistics.mean(rate.pruned for rate in rates),
            ratio=statistics.mean(rate.ratio for rate in rates),
            low=min(rate.low for rate in rates),
            high=max(rate.high for rate in rates),
        )

    @property
    def other_processors(self) -> list[str]:
        """The processors of the runs other than that of most runs of the board."""
        return sorted({record.hardware.cpu for record in self.records} - {self.processor})

    @property
    def memory(self) -> int:
        """Peak memory in bytes (see `Peak`), maximum over the runs."""
        return max(record.peak.bytes for record in self.records)

    def _over(self, read: Callable[[Record], float | None]) -> Spread | None:
        values = [value for record in self.records if (value := read(record)) is not None]
        return Spread.of(values) if len(values) == len(self.records) else None


@dataclass(frozen=True)
class Board:
    """Comparable rows: the same protocol, model, number format and device."""

    newest: Record
    """The newest record, for the fields that all records of the board share."""
    dense: Dense
    metrics: tuple[str, ...]
    """Names of the values for readers, those of the protocol first."""
    rows: tuple[Row, ...]
    timed_on: str
    """The machine and the number of threads of all seconds that are shown."""
    shares_name: bool = False
    """Whether another model of the same name has records."""

    @property
    def protocol(self) -> str:
        """The protocol's name."""
        return self.newest.protocol.name

    @property
    def about(self) -> str:
        """Description of the protocol."""
        return self.newest.protocol.about

    @property
    def model(self) -> str:
        """The model's name, with the beginning of its hash if another model has the same name."""
        model = self.newest.model
        return f"{model.name} {(model.sha256 or '')[:7]}" if self.shares_name else model.name

    @property
    def model_names(self) -> tuple[str, ...]:
        """The names by which the model can be requested, among them that of `atlas run --model`."""
        model = self.newest.model
        return self.model, model.name, model.source, os.path.normpath(model.source)

    @property
    def dtype(self) -> str:
        """The number format."""
        return self.newest.model.dtype

    @property
    def device(self) -> str:
        """Name of the accelerator, or `CPU`."""
        return _device(self.newest)

    @property
    def title(self) -> str:
        """Title of the board: protocol, model, device and fine-tuning."""
        return f"{self.protocol}: {self.model} on {self.device}{self.after_clause}"

    @property
    def recovery(self) -> Recovery | None:
        """The fine-tuning that all rows had, if any; so had the dense model, except a teacher."""
        return self.newest.recovery

    @property
    def after(self) -> str:
        """What the values were measured after: a fine-tuning, prompts, or nothing (empty)."""
        return "prompts" if _behind_prompts(self.newest) else str(self.recovery or "")

    @property
    def after_clause(self) -> str:
        """What the values were measured after, to append to a title: `, after LoRA ...`."""
        return f", after {self.after}" if self.after else ""

    @property
    def place(self) -> str:
        """Identifier of the board within its protocol, for use in an address."""
        words = f"{self.model} {self.dtype} {self.device} {self.after}".lower()
        return re.sub(r"[^a-z0-9.]+", "-", words).strip("-")

    @property
    def families(self) -> list[tuple[str, list[Row]]]:
        """The rows grouped by family."""
        return [
            (family, rows)
            for family in FAMILIES
            if (rows := [row for row in self.rows if row.family == family])
        ]

    @property
    def quantised(self) -> bool:
        """Whether some row is quantised."""
        return any(row.family == QUANTISED for row in self.rows)

    @property
    def seeded(self) -> bool:
        """Whether some row has more than one seed."""
        return any(len(row.records) > 1 for row in self.rows)

    def lower_is_better(self, name: str) -> bool:
        """Whether lower values of a column are better."""
        return metric(name).lower_is_better

    def heading(self, name: str) -> str:
        """Return a column's heading: only the text for the ranking metric, else the full title."""
        same = metric(name).kind == metric(self.metrics[0]).kind
        return subject(name) if same else title(name)


def newest(records: Iterable[Record]) -> list[Record]:
    """Keep the newest record of each key, sorted by date."""
    kept = {record.key: record for record in sorted(records, key=lambda record: record.date)}
    return sorted(kept.values(), key=lambda record: record.date)


def boards(records: Iterable[Record]) -> list[Board]:
    """Group records into boards; rows are sorted by family, share and first metric.

    `smol` is first, the CPU before accelerators, and the model of the protocol before others,
    because the first board stands for all on pages with one answer. A board with only the dense
    model has no rows.
    """

    def place(board: Board) -> tuple[bool, bool, bool, str]:
        another = board.newest.model.source != board.newest.protocol.model
        return board.protocol != "smol", board.device != CPU, another, board.title

    found = newest(records)
    models = {(record.model.name, record.model.sha256) for record in found}
    names = Counter(name for name, _ in models)
    made = (
        replace(board, shares_name=names[board.newest.model.name] > 1)
        for board in map(_board, _grouped(found, _comparable))
    )
    # Boards of equal titles stay ordered by their oldest record, which keeps their addresses.
    return sorted(made, key=place)


def measured_alike(record: Record) -> Hashable:
    """Return a key that is equal for records measured alike, whatever their fine-tuning."""
    model = record.model
    return (
        record.protocol.fingerprint,
        frozenset((text.role, text.source_sha256) for text in record.texts if text.measured),
        (model.sha256 or model.source, model.config_sha256, model.tokenizer_sha256),
        model.dtype,
        _device(record),
        _behind_prompts(record),
    )


def _comparable(record: Record) -> Hashable:
    return measured_alike(record), record.recovery


def _behind_prompts(record: Record) -> bool:
    return any(metric(name).kind == AFTER_PROMPT.kind for name in record.values)


def _device(record: Record) -> str:
    return record.hardware.accelerator or CPU


def _board(records: Sequence[Record]) -> Board:
    last = records[-1]
    unpruned = [record for record in records if record.method == DENSE]
    pruned = [record for record in records if record.method != DENSE]
    dense = last.dense
    if unpruned:
        record = unpruned[-1]
        dense = Dense(run=record.run, values=record.values, footprint=record.footprint)
    processor = Counter(record.hardware.cpu for record in records).most_common(1)[0][0]
    groups = _grouped(pruned, lambda record: record.group)
    timed = Counter(name for one in groups for name in {record.hardware.timing for record in one})
    # Of two machines with as many rows, the name decides and not the order of a set.
    timed_on = max(timed, key=lambda name: (timed[name], name), default=last.hardware.timing)
    rows = [
        Row(tuple(sorted(seeds, key=lambda record: record.seed)), processor, timed_on)
        for seeds in groups
    ]
    measured = [name for record in records for name in record.values]
    own_metrics = [] if _behind_prompts(last) else last.protocol.metrics
    names = tuple(dict.fromkeys([*own_metrics, *headings(measured)]))
    rows.sort(key=lambda row: _order(row, names[0]))
    return Board(last, dense, names, tuple(rows), timed_on)


def _order(row: Row, name: str) -> tuple[int, float, float]:
    value = row.value(name)
    place = value.mean if value else math.inf
    return FAMILIES.index(row.family), round(row.first.requested, 3), place


def _grouped(records: Iterable[Record], key: Callable[[Record], Hashable]) -> list[list[Record]]:
    groups: dict[Hashable, list[Record]] = defaultdict(list)
    for record in records:
        groups[key(record)].append(record)
    return list(groups.values())
