"""Running a record again from nothing but itself, and saying how far apart the two are."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from implementations.harness.prune.registry import get
from implementations.harness.results.record import DECIDING, Record, Tolerance
from implementations.harness.runs.recording import make_record
from implementations.harness.runs.run import check_tasks
from implementations.harness.runs.workbench import DENSE, Job, Setup, Workbench

EXACT = Tolerance(same_machine=0.0, elsewhere=0.0)  # where the record states none


@dataclass(frozen=True)
class Comparison:
    """One value of the record and of its repetition."""

    name: str
    recorded: float
    again: float
    tolerance: float

    @property
    def difference(self) -> float:
        """Relative to the recorded value; absolute where that is 0."""
        return abs(self.again - self.recorded) / (abs(self.recorded) or 1.0)

    @property
    def agrees(self) -> bool:
        """Whether the difference is within the tolerance."""
        return self.difference <= self.tolerance


@dataclass(frozen=True)
class Verdict:
    """What a repetition showed."""

    comparisons: tuple[Comparison, ...]
    same_machine: bool
    changes: tuple[str, ...]
    """Weights, texts, versions, hardware and commit that are not as in the record."""

    @property
    def agrees(self) -> bool:
        """Whether every value is within its tolerance."""
        return all(comparison.agrees for comparison in self.comparisons)

    def to_dict(self) -> dict[str, Any]:
        """The verdict as plain data."""
        comparisons = [
            asdict(c) | {"difference": c.difference, "agrees": c.agrees} for c in self.comparisons
        ]
        return asdict(self) | {"comparisons": comparisons, "agrees": self.agrees}


def verify(
    record: Record,
    *,
    device: str | None = None,
    model: str | None = None,
    task_folder: Path | None = None,
) -> Verdict:
    """Run `record` again and compare; `device` and `model` say where, if not as recorded.

    Values are held to the tolerance of the record: the narrow one on the same kind of machine
    with the same threads and versions of torch and transformers, the wide one elsewhere.

    Raises:
        BadInput: the record's method, parameters, texts or model do not exist here.
    """
    again = repeat(record, device=device, model=model, task_folder=task_folder)
    return compare(record, again)


def repeat(
    record: Record,
    *,
    device: str | None = None,
    model: str | None = None,
    task_folder: Path | None = None,
) -> Record:
    """Make the record of the same request anew; nothing is written."""
    setup = Setup(
        model=model or record.model.source,
        protocol=record.protocol,
        device=device or record.model.device,
        dtype=record.model.dtype,
        accelerator=None
        if record.model.accelerator == record.model.device
        else record.model.accelerator,
        tasks=record.tasks,
        task_folder=None if task_folder is None else str(task_folder),
    )
    check_tasks(setup)
    method = None
    if record.method != DENSE:
        method = get(record.method).configure(**record.configuration)
    bench = Workbench(setup)
    job = Job(method, record.seed)
    bench.check(job)
    dense = make_record(bench, Job(None), bench.measure_dense(), None)
    if method is None:
        return dense
    found, _ = bench.measure(method, record.seed, last=True)
    return make_record(bench, job, found, dense)


def compare(record: Record, again: Record) -> Verdict:
    """Hold the values of a repetition against the record."""
    same = record.hardware.machine == again.hardware.machine
    alike = same and record.hardware.threads == again.hardware.threads and _libraries(record, again)
    pairs = [("achieved", record.achieved, again.achieved)]
    pairs += [(name, value, again.values[name]) for name, value in record.values.items()]
    pairs += [
        (f"dense {name}", value, again.dense.values[name])
        for name, value in record.dense.values.items()
        if record.method != DENSE
    ]
    comparisons = []
    for name, recorded, repeated in pairs:
        kind = name.removeprefix("dense ").partition("/")[0]
        allowed = record.tolerance.get(kind, EXACT)
        comparisons.append(
            Comparison(
                name, recorded, repeated, allowed.same_machine if alike else allowed.elsewhere
            )
        )
    return Verdict(tuple(comparisons), alike, tuple(changes(record, again)))


def changes(record: Record, again: Record) -> list[str]:
    """Say what differs in weights, texts, versions, hardware and commit."""
    before, now = _facts(record), _facts(again)
    return [
        f"{name}: {before.get(name, 'absent')} in the record, {now.get(name, 'absent')} now"
        for name in dict.fromkeys((*before, *now))
        if before.get(name) != now.get(name)
    ]


def _facts(record: Record) -> dict[str, object]:
    texts = {f"tokens of {text.role}": text.ids_sha256 for text in record.texts}
    facts = {"weights": record.model.sha256, "commit": record.commit}
    return {**facts, **texts, **record.versions, **record.hardware.model_dump()}


def _libraries(record: Record, again: Record) -> bool:
    return all(record.versions.get(name) == again.versions.get(name) for name in DECIDING)
