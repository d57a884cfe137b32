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
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from implementations.harness.errors import BadInput
from implementations.harness.prune.registry import get
from implementations.harness.results.protocol import problems
from implementations.harness.runs.workbench import DENSE, Job


class Entry(BaseModel):
    """One line of `runs`: methods, seeds, and parameters, of which a list stands for each value."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)

    method: str | list[str]
    seeds: list[int] | None = None

    def jobs(self, seeds: list[int]) -> list[Job]:
        """The runs of the entry; raises `BadInput` for an unknown method or a wrong parameter."""
        methods = [self.method] if isinstance(self.method, str) else self.method
        parameters = self.model_extra or {}
        values = [v if isinstance(v, list) else [v] for v in parameters.values()]
        settings = [dict(zip(parameters, chosen, strict=True)) for chosen in product(*values)]
        return [
            job(method, chosen, seed)
            for method in methods
            for chosen in settings
            for seed in (seeds if self.seeds is None else self.seeds)
        ]


class Plan(BaseModel):
    """A sweep as its file says it; what is not there comes from the command line."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    protocol: str | None = None
    model: str | None = None
    dtype: str | None = None
    seeds: list[int] = Field(default=[0], min_length=1)
    runs: list[str | Entry] = Field(min_length=1)

    def jobs(self) -> list[Job]:
        """Every run once, in order; raises `BadInput` naming the first that cannot be."""
        entries = [Entry(method=run) if isinstance(run, str) else run for run in self.runs]
        return unique(job for entry in entries for job in entry.jobs(self.seeds))


def read_plan(path: Path) -> Plan:
    """Read the file of a sweep; raises `BadInput` with every problem found."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Plan.model_validate_json(json.dumps(content))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, TypeError) as error:
        raise BadInput(f"cannot read the sweep {path}: {error}") from error
    except ValidationError as error:
        raise BadInput(f"{path} is not a sweep: {problems(error)}") from error


def jobs_of(
    methods: Iterable[str],
    sparsities: list[float],
    patterns: list[str],
    settings: list[str],
    seeds: list[int],
) -> list[Job]:
    """Each method at each sparsity and at each pattern with each seed; `settings` are NAME=VALUE.

    Raises:
        BadInput: no method or an unknown one, a wrong parameter.
    """
    methods, parameters = list(methods), read_settings(settings)
    if not methods:
        raise BadInput("no method given; name some, or a file with --file")
    shares: list[dict[str, Any]] = [{"sparsity": share} for share in sparsities]
    shares += [{"pattern": pattern} for pattern in patterns]
    return unique(
        job(method, share | parameters, seed) if method != DENSE else Job(None)
        for method in methods
        for share in shares or [{}]
        for seed in seeds
    )


def job(method: str, parameters: dict[str, Any], seed: int) -> Job:
    """One run of a method; raises `BadInput` when it cannot be configured so."""
    if method != DENSE:
        return Job(get(method).configure(**parameters), seed)
    if parameters:
        raise BadInput(f"the dense model has no parameters, but is given {', '.join(parameters)}")
    return Job(None)


def read_settings(settings: list[str]) -> dict[str, Any]:
    """Read NAME=VALUE pairs; `none` is no value, and the method's fields give the types.

    Raises:
        BadInput: not a pair, or a name given twice. Wrong names and values are the method's to
            refuse.
    """
    found: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals or not name:
            raise BadInput(f"--set takes NAME=VALUE, not {setting!r}")
        if name in found:
            raise BadInput(f"--set gives {name!r} twice")
        found[name] = _value(text)
    return found


def _value(text: str) -> Any:
    """Lists and objects are JSON; all else stays text, for the field's type to read."""
    if text.lower() == "none":
        return None
    if not text.startswith(("[", "{")):
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise BadInput(f"{text!r} looks like JSON and is not: {error}") from error


def unique(jobs: Iterable[Job]) -> list[Job]:
    """The jobs without repetition, in order of first appearance."""
    return list({(j.slug, json.dumps(j.configuration), j.seed): j for j in jobs}.values())
