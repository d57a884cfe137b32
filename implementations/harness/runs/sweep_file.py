"""Which runs a sweep consists of: from a YAML file or from options.

protocol: smol
seeds: [0]
runs:
  - dense
  - {method: magnitude, sparsity: [0.5, 0.7]}              # a list: one run for each value
  - {method: [wanda, sparsegpt], sparsity: 0.5, seeds: [0, 1, 2]}
  - {method: sparsegpt, pattern: "2:4", damping: 0.05}
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from implementations.harness.errors import BadInput, in_short
from implementations.harness.results.bounds import Given, Seed
from implementations.harness.results.part import problems
from implementations.harness.results.reading import parse_json, read_yaml
from implementations.harness.results.record import DENSE
from implementations.harness.results.recovery import Recovery
from implementations.harness.runs.job import Job, make_job

MOST_RUNS = 10_000
"""Runs of one sweep: at a minute each they take a week."""
SHARE = ("sparsity", "pattern")
"""Parameters that options of their own say."""

Several = Annotated[list[Given], Field(min_length=1)]
Seeds = Annotated[list[Seed], Field(min_length=1)]


class Entry(BaseModel):
    """One line of `runs`: methods, seeds, and parameters, of which a list stands for each value."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)

    method: Given | Several
    seeds: Seeds | None = None

    @property
    def methods(self) -> list[str]:
        """The methods, also where it is one."""
        return [self.method] if isinstance(self.method, str) else self.method

    @property
    def values(self) -> dict[str, list[Any]]:
        """The values of each parameter."""
        extra = self.model_extra or {}
        return {name: v if isinstance(v, list) else [v] for name, v in extra.items()}

    def count(self, seeds: Sequence[int]) -> int:
        """Count the runs without making them."""
        each = (self.methods, self.seeds or seeds, *self.values.values())
        return math.prod(map(len, each))

    def jobs(self, seeds: Sequence[int], recovery: Recovery | None = None) -> list[Job]:
        """The runs of the entry; raises `BadInput` for an unknown method or a wrong parameter."""
        empty = [name for name, values in self.values.items() if not values]
        if empty:
            raise BadInput(f"{in_short(empty[0], 100)}: [] of {self.methods[0]} gives no run")
        settings = [
            dict(zip(self.values, chosen, strict=True)) for chosen in product(*self.values.values())
        ]
        return [
            make_job(method, chosen, seed, recovery)
            for method in self.methods
            for chosen in settings
            for seed in self.seeds or seeds
        ]


class Plan(BaseModel):
    """A sweep as its file says it; what is not there comes from the command line."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    protocol: Given | None = None
    model: Given | None = None
    dtype: Given | None = None
    seeds: Seeds = [0]
    runs: list[Given | Entry] = Field(min_length=1)

    def jobs(self, recovery: Recovery | None = None) -> list[Job]:
        """Every run once, in order; raises `BadInput` naming the first that cannot be."""
        entries = [Entry(method=run) if isinstance(run, str) else run for run in self.runs]
        check_count(sum(entry.count(self.seeds) for entry in entries))
        return unique(job for entry in entries for job in entry.jobs(self.seeds, recovery))

    def but(self, **options: str | None) -> Plan:
        """Add what options say; raises `BadInput` where the file says otherwise."""
        said = self.model_dump(include=set(options), exclude_none=True)
        for name, value in options.items():
            if value is not None and said.get(name, value) != value:
                raise BadInput(
                    f"--{name} {in_short(value, 100)} contradicts the file, which says "
                    f"{in_short(said[name], 100)}; leave one of them out"
                )
        return self.model_copy(update={n: v for n, v in options.items() if v is not None})


def read_plan(path: Path) -> Plan:
    """Read the file of a sweep; raises `BadInput` with the problems found."""
    try:
        return Plan.model_validate_json(json.dumps(read_yaml(path), default=str))  # a date
    except ValidationError as error:
        raise BadInput(f"{path} is not a sweep: {problems(error)}") from error


def jobs_of(
    methods: Sequence[str],
    sparsities: Sequence[float],
    patterns: Sequence[str],
    settings: Sequence[str],
    seeds: Sequence[int],
    recovery: Recovery | None = None,
) -> list[Job]:
    """Each method at each sparsity and at each pattern with each seed; `settings` are NAME=VALUE.

    Raises:
        BadInput: no method or an unknown one, a wrong parameter, or one that is given twice.
    """
    if not methods:
        raise BadInput("no method given; name some, or a file with --file")
    parameters = read_settings(settings, shared=bool(sparsities or patterns))
    shares: list[dict[str, Any]] = [{"sparsity": share} for share in sparsities]
    shares += [{"pattern": pattern} for pattern in patterns]
    check_count(len(methods) * max(len(shares), 1) * len(seeds))
    return unique(
        make_job(method, {} if method == DENSE else share | parameters, seed, recovery)
        for method in methods
        for share in shares or [{}]
        for seed in seeds
    )


def check_count(runs: int) -> None:
    """Refuse with `BadInput` more runs than anybody waits for, before they are made."""
    if runs > MOST_RUNS:
        raise BadInput(f"{runs:,} runs are more than {MOST_RUNS:,}; make several sweeps of them")


def read_settings(settings: Sequence[str], *, shared: bool = False) -> dict[str, Any]:
    """Read NAME=VALUE pairs; the method's fields give the types.

    With `shared` an option of its own says the share already.

    Raises:
        BadInput: not a pair, or a name given twice. Wrong names and values are the method's to
            refuse.
    """
    found: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals or not name:
            raise BadInput(f"--set takes NAME=VALUE, not {in_short(setting, 100)!r}")
        if name in found:
            raise BadInput(f"--set gives {in_short(name, 100)!r} twice")
        if shared and name in SHARE:
            raise BadInput(
                f"--set {name} and the option --sparsity or --pattern both say what goes; "
                "leave one of them out"
            )
        found[name] = _value(name, text)
    return found


def _value(name: str, text: str) -> Any:
    """Lists and objects are JSON; all else stays text, for the field's type to read."""
    if not text.startswith(("[", "{")):
        return text
    return parse_json(text, f"the JSON of --set {in_short(name, 100)}")


def unique(jobs: Iterable[Job]) -> list[Job]:
    """The jobs without repetition, in order of first appearance."""
    return list({(j.slug, json.dumps(j.configuration), j.seed): j for j in jobs}.values())
