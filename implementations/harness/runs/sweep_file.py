"""The runs of a sweep, from a YAML file or from command-line options.

An example of a file:

protocol: smol
calibrate_on: notes.txt
evaluate_on: [held-out.jsonl]
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

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from implementations.harness.errors import BadInput, in_short
from implementations.harness.results.protocol import Recovery
from implementations.harness.results.reading import Given, Seed, read_yaml, validation_problems
from implementations.harness.results.record import DENSE
from implementations.harness.runs.job import Job, make_job, read_settings

MOST_RUNS = 10_000
"""Maximum number of runs in a sweep; at a minute each, this many take a week."""

Methods = Annotated[list[Given], Field(min_length=1)]
Seeds = Annotated[list[Seed], Field(min_length=1)]


class Entry(BaseModel):
    """One line of `runs`: methods, seeds and parameters; a list gives one run per value."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)

    method: Given | Methods
    seeds: Seeds | None = None

    @property
    def methods(self) -> list[str]:
        """The methods as a list."""
        return [self.method] if isinstance(self.method, str) else self.method

    @property
    def values(self) -> dict[str, list[Any]]:
        """The list of values of each parameter."""
        extra = self.model_extra or {}
        return {name: v if isinstance(v, list) else [v] for name, v in extra.items()}

    def count(self, seeds: Sequence[int]) -> int:
        """Count the runs without creating them."""
        factors = (self.methods, self.seeds or seeds, *self.values.values())
        return math.prod(map(len, factors))

    def jobs(self, seeds: Sequence[int], recovery: Recovery | None = None) -> list[Job]:
        """Create the runs; raises `BadInput` for an unknown method or an invalid parameter."""
        empty = [name for name, values in self.values.items() if not values]
        if empty:
            raise BadInput(
                f"{in_short(empty[0], 100)} of {self.methods[0]} is an empty list; give at least "
                "one value"
            )
        settings = [
            dict(zip(self.values, chosen, strict=True)) for chosen in product(*self.values.values())
        ]
        return [
            make_job(method, chosen, seed, recovery)
            for method in self.methods
            for chosen in settings
            for seed in self.seeds or seeds
        ]


class SweepFile(BaseModel):
    """Content of a sweep file; command-line options supply missing fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    protocol: Given | None = None
    calibrate_on: Given | None = None
    evaluate_on: Annotated[list[Given], Field(min_length=1)] | None = None
    model: Given | None = None
    dtype: Given | None = None
    seeds: Seeds = [0]
    runs: list[Given | Entry] = Field(min_length=1)

    @field_validator("evaluate_on", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    def jobs(self, recovery: Recovery | None = None) -> list[Job]:
        """Create all runs in order, without repetition; raises `BadInput` for an invalid one."""
        entries = [Entry(method=run) if isinstance(run, str) else run for run in self.runs]
        check_count(sum(entry.count(self.seeds) for entry in entries))
        return unique(job for entry in entries for job in entry.jobs(self.seeds, recovery))

    def with_options(self, **options: str | list[str] | None) -> SweepFile:
        """Add options that are given; raises `BadInput` if the file has another value."""
        given = self.model_dump(include=set(options), exclude_none=True)
        for name, value in options.items():
            if value and given.get(name, value) != value:
                words = [v if isinstance(v, str) else ", ".join(v) for v in (value, given[name])]
                raise BadInput(
                    f"--{name.replace('_', '-')} {in_short(words[0], 100)} contradicts the sweep "
                    f"file, which has {in_short(words[1], 100)}; leave one of them out"
                )
        return self.model_copy(update={n: v for n, v in options.items() if v})


def read_sweep_file(path: Path) -> SweepFile:
    """Read a sweep file; raises `BadInput` if it is invalid."""
    try:
        # `default=str`: YAML reads an unquoted date as a date object.
        return SweepFile.model_validate_json(json.dumps(read_yaml(path), default=str))
    except ValidationError as error:
        raise BadInput(f"{path} is not a valid sweep: {validation_problems(error)}") from error


def jobs_of(
    methods: Sequence[str],
    sparsities: Sequence[float],
    patterns: Sequence[str],
    settings: Sequence[str],
    seeds: Sequence[int],
    recovery: Recovery | None = None,
) -> list[Job]:
    """Combine every method with every sparsity, pattern and seed; `settings` are NAME=VALUE.

    Raises:
        BadInput: no method, an unknown method, or an invalid or repeated parameter.
    """
    if not methods:
        raise BadInput("no method given; name at least one, or give a file with --file")
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
    """Raise `BadInput` for more than `MOST_RUNS` runs, before they are created."""
    if runs > MOST_RUNS:
        raise BadInput(
            f"the sweep has {runs:,} runs, more than the maximum of {MOST_RUNS:,}; split it into "
            "several sweeps"
        )


def unique(jobs: Iterable[Job]) -> list[Job]:
    """Remove repeated jobs, keeping the order; different files may have methods of one name."""
    found = {}
    for job in jobs:
        file = job.external and job.external.sha256
        found[job.slug, file, json.dumps(job.configuration), job.seed] = job
    return list(found.values())
