"""Records put together: the one place that says which numbers compare, for terminal and site.

- A **board** holds the records that share the fingerprint of the protocol and the texts measured
  on, the model (hashes of weights, configuration and tokenizer; its source where there is none),
  the number format, the device, and the training after pruning, if there was any: its dense row is
  that of the dense model after the same. Protocols, texts and models of one name but other
  contents make boards of their own, and so do methods that follow prompts, which are measured
  behind these.
- Of two records of one request (the same key) the newer counts.
- A **row** is the runs that differ in nothing but the seed.
- A **value** of a row is the mean over its seeds, with the sample standard deviation where there
  are several. A value that one of the runs lacks is none of the row's.
- The **ratio to dense** is the mean over the seeds of each run's value over its *own* dense value,
  and not a ratio of means: what the dense model of another run came to, on another machine or with
  other versions, says nothing of this run. Ratios of speed are put together in the same way.
- Memory is the most of any run, and a label of one run is the row's. What does not follow the seed,
  and the footprint, are those of the run of the lowest seed.
- What a method prunes and quantises makes a **family** of its own, never ranked among what is only
  pruned; its settings say how many bits a weight.
- The **dense row** is the newest record of the dense model on the board; where there is none, what
  the newest record carries. It is shown beside the rows and enters no ratio.

Needs neither torch nor transformers.
"""

from __future__ import annotations

import math
import re
import statistics
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass

from implementations.harness.results.metric import (
    AFTER_PROMPT,
    headings,
    metric,
    subject,
    title,
)
from implementations.harness.results.record import DENSE, Dense, Footprint, Rate, Record
from implementations.harness.results.recovery import Recovery

QUANTISED = "Pruned and quantised"
FAMILIES = ("Single weights", "N:M patterns", "Heads and channels", "Whole blocks", QUANTISED)


@dataclass(frozen=True)
class Spread:
    """A value over the seeds: mean, and sample standard deviation of several."""

    mean: float
    deviation: float | None = None

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Summarise one value a seed; there is no deviation of what is beyond any number."""
        mean = statistics.mean(values)
        if len(values) < 2 or not math.isfinite(mean):
            return cls(mean)
        try:
            return cls(mean, statistics.stdev(values))
        except OverflowError:
            return cls(mean)


@dataclass(frozen=True)
class Row:
    """The runs that differ in nothing but the seed, in its order."""

    records: tuple[Record, ...]

    @property
    def first(self) -> Record:
        """The run of the lowest seed, for what all of them share."""
        return self.records[0]

    @property
    def method(self) -> str:
        """The method's slug."""
        return self.first.method

    @property
    def settings(self) -> str:
        """What was asked for, to read."""
        return self.first.settings

    @property
    def family(self) -> str:
        """What is removed, in the words of `FAMILIES`."""
        if self.footprint.bits is not None:
            return QUANTISED
        if self.first.pattern:
            return FAMILIES[1]
        if not self.first.structured:
            return FAMILIES[0]
        return FAMILIES[3] if self.first.granularity == ("blocks",) else FAMILIES[2]

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds, in order."""
        return tuple(record.seed for record in self.records)

    @property
    def achieved(self) -> float:
        """The share of the blocks' weights that is gone, mean of the seeds."""
        return statistics.mean(record.achieved for record in self.records)

    @property
    def missed(self) -> bool:
        """Whether asked and achieved differ in what is shown, as whole units may not add up."""
        return abs(self.achieved - self.first.asked) >= 5e-4

    @property
    def footprint(self) -> Footprint:
        """What the model weighs after the run of the lowest seed."""
        return self.first.footprint

    @property
    def zeros(self) -> float:
        """The share of all parameters that are zero."""
        found = self.footprint
        return 1 - found.nonzero / found.parameters if found.parameters else 0.0

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of any of the runs."""
        return tuple(dict.fromkeys(label for record in self.records for label in record.labels))

    @property
    def collapsed(self) -> bool:
        """Whether any seed lost the language: the record's own label."""
        return "collapsed" in self.labels

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the values that every run has."""
        return tuple(name for name in self.first.values if self.value(name))

    def value(self, name: str) -> Spread | None:
        """Summarise a value over the seeds; None where a run lacks it."""
        return self._over(lambda record: record.values.get(name))

    def dense(self, name: str) -> Spread | None:
        """Summarise the dense values that the runs were measured beside."""
        return self._over(lambda record: record.dense.values.get(name))

    def before(self, name: str) -> Spread | None:
        """Summarise a value from before the recovery; None where there was none."""
        return self._over(
            lambda record: record.recovered.before.get(name) if record.recovered else None
        )

    def ratio(self, name: str) -> Spread | None:
        """Summarise a value as a multiple of the dense one of the same run."""
        return self._over(lambda record: record.ratio(name))

    def seconds(self, phase: str) -> Spread | None:
        """Summarise the seconds a phase took."""
        return self._over(lambda record: record.seconds.get(phase))

    def rate(self, kind: str) -> Rate | None:
        """Put `prefill` or `decode` together: means, and lowest and highest ratio of a repeat."""
        rates = [rate for record in self.records if (rate := getattr(record.speed, kind))]
        if len(rates) < len(self.records):
            return None
        return Rate(
            dense=statistics.mean(rate.dense for rate in rates),
            pruned=statistics.mean(rate.pruned for rate in rates),
            ratio=statistics.mean(rate.ratio for rate in rates),
            low=min(rate.low for rate in rates),
            high=max(rate.high for rate in rates),
        )

    @property
    def memory(self) -> int:
        """The most bytes in use while pruning, in any of the runs."""
        return max(record.peak.bytes for record in self.records)

    def _over(self, read: Callable[[Record], float | None]) -> Spread | None:
        values = [value for record in self.records if (value := read(record)) is not None]
        return Spread.of(values) if len(values) == len(self.records) else None


@dataclass(frozen=True)
class Board:
    """Rows that may be compared: the same protocol, model, number format and device."""

    newest: Record
    """For what all records of the board share."""
    dense: Dense
    metrics: tuple[str, ...]
    """What a table shows of the values: the protocol's own first, the very first ranks."""
    rows: tuple[Row, ...]

    @property
    def protocol(self) -> str:
        """The protocol's name."""
        return self.newest.protocol.name

    @property
    def about(self) -> str:
        """What the protocol is for."""
        return self.newest.protocol.about

    @property
    def model(self) -> str:
        """The model's name."""
        return self.newest.model.name

    @property
    def dtype(self) -> str:
        """The number format."""
        return self.newest.model.dtype

    @property
    def device(self) -> str:
        """The accelerator by its name, or the CPU."""
        return _device(self.newest)

    @property
    def title(self) -> str:
        """What tells this board from the others."""
        after = f", after {self.after}" if self.after else ""
        return f"{self.protocol}: {self.model} on {self.device}{after}"

    @property
    def recovery(self) -> Recovery | None:
        """The training that all of its rows had after pruning, and its dense model as well."""
        return self.newest.recovery

    @property
    def after(self) -> str:
        """What came before measuring: a recovery, or prompts; empty for most boards."""
        return "prompts" if _behind_prompts(self.newest) else str(self.recovery or "")

    @property
    def place(self) -> str:
        """What tells this board from others of its protocol, for an address."""
        words = f"{self.model} {self.dtype} {self.device} {self.after}".lower()
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
    def quantised(self) -> bool:
        """Whether some row has fewer bits a weight than its dtype."""
        return any(row.family == QUANTISED for row in self.rows)

    @property
    def seeded(self) -> bool:
        """Whether some row has more than one seed."""
        return any(len(row.records) > 1 for row in self.rows)

    def lower_is_better(self, name: str) -> bool:
        """Whether the least value of a column is the best."""
        return metric(name).lower_is_better

    def heading(self, name: str) -> str:
        """Head the column of a value: of the kind that ranks by the text alone."""
        same = metric(name).kind == metric(self.metrics[0]).kind
        return subject(name) if same else title(name)


def newest(records: Iterable[Record]) -> list[Record]:
    """Keep of the records of one request the newest, and sort by date."""
    kept = {record.key: record for record in sorted(records, key=lambda record: record.date)}
    return sorted(kept.values(), key=lambda record: record.date)


def boards(records: Iterable[Record]) -> list[Board]:
    """Sort records into boards: `smol` first, rows by family, share and the first metric.

    A board that holds nothing but the dense model has no rows.
    """
    # Of boards of one title the one with the oldest record stays first, and keeps its address.
    made = [_board(group) for group in _grouped(newest(records), _comparable)]
    return sorted(made, key=lambda board: (board.protocol != "smol", board.title))


def measured_alike(record: Record) -> Hashable:
    """Return what records share that were measured alike, whatever training they had before."""
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
    return record.hardware.accelerator or "CPU"


def _board(records: Sequence[Record]) -> Board:
    last = records[-1]
    own = [record for record in records if record.method == DENSE]
    pruned = [record for record in records if record.method != DENSE]
    dense = (
        Dense(run=own[-1].run, values=own[-1].values, footprint=own[-1].footprint)
        if own
        else last.dense
    )
    rows = [
        Row(tuple(sorted(seeds, key=lambda record: record.seed)))
        for seeds in _grouped(pruned, lambda record: record.group)
    ]
    measured = [name for record in records for name in record.values]
    own_metrics = [] if _behind_prompts(last) else last.protocol.metrics
    names = tuple(dict.fromkeys([*own_metrics, *headings(measured)]))
    return Board(last, dense, names, tuple(sorted(rows, key=lambda row: _order(row, names[0]))))


def _order(row: Row, name: str) -> tuple[int, float, float]:
    value = row.value(name)
    place = value.mean if value and not math.isnan(value.mean) else math.inf
    return FAMILIES.index(row.family), round(row.first.asked, 3), place


def _grouped(records: Iterable[Record], key: Callable[[Record], Hashable]) -> list[list[Record]]:
    groups: dict[Hashable, list[Record]] = defaultdict(list)
    for record in records:
        groups[key(record)].append(record)
    return list(groups.values())
