"""The record of one run: its values and everything needed to check and repeat them.

Reading records needs neither torch nor transformers.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Self

from pydantic import AfterValidator, AwareDatetime, Field, PlainSerializer, model_validator

from implementations.harness.results.files import format_json
from implementations.harness.results.metric import Tolerance, metric
from implementations.harness.results.processor import STANDARD
from implementations.harness.results.protocol import (
    STREAMS,
    Course,
    Protocol,
    Recovered,
    Recovery,
    TrainingText,
)
from implementations.harness.results.reading import (
    Command,
    Count,
    Few,
    FieldName,
    FileName,
    Hash,
    Line,
    NonNegative,
    Place,
    Plain,
    Positive,
    Revision,
    RunName,
    Seed,
    Share,
    Slug,
    Span,
    StrictModel,
    Text,
    ValueName,
    one_line,
)

SCHEMA_VERSION = 3
DENSE = "dense"  # the method of a run that prunes nothing
EXTERNAL = "external"  # label of a method outside the atlas
NO_SPEED_UP = "no speed-up expected on dense kernels"
LARGEST_SPREAD = 1.3
"""Speeds whose repeats differ by more are not published: the machine was busy."""
SLACK = 0.01
"""Share of the weights by which counts may differ from the sparsity, for example by biases."""
PATTERN = re.compile(r"[1-9][0-9]{0,5}:[1-9][0-9]{0,5}")
RELEVANT_PACKAGES = ("torch", "transformers", "tokenizers")  # their versions affect the values


def _plausible_year(date: datetime) -> datetime:
    """Raise `ValueError` for implausible years; the very first and last overflow in UTC."""
    if not (2000 <= date.year < 2200 and 2000 <= date.astimezone(UTC).year < 2200):
        raise ValueError("the year must be between 2000 and 2199")
    return date


Bits = Annotated[float, Field(gt=0, le=64)]
Utc = Annotated[
    AwareDatetime,
    AfterValidator(_plausible_year),
    PlainSerializer(lambda date: date.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")),
]


class ModelInfo(StrictModel):
    """The model that was loaded, before pruning."""

    name: Line
    source: Text
    sha256: Revision | None
    """Hash of the loaded weights, or the hub's revision; None for a model without files."""
    config_sha256: Revision | None
    """Hash of the configuration, independent of its formatting."""
    tokenizer_sha256: Revision | None
    """Hash of the tokenizer's files."""
    family: Line
    dtype: Line
    device: Line
    accelerator: Line
    """Device that processed one block at a time; equals `device` by default."""
    parameters: Count
    streamed: bool = Field(default=False, exclude_if=lambda value: not value)
    """Whether one block at a time was read from disk; not written otherwise."""


class External(StrictModel):
    """The origin of a method outside the atlas."""

    source: Place
    """Its file, class or registered name, as it was given."""
    sha256: Hash
    """Hash of the file with its class."""


class TextInfo(StrictModel):
    """A calibration, training or evaluation text of the run."""

    role: Line
    """`calibration`, `training`, `domain`, or the metric measured on it."""
    source: Place
    source_sha256: Hash
    """Hash of the text, or of the file that documents are drawn from."""
    text_sha256: Hash
    """Hash of the text that the spans refer to (of the drawn documents, if documents are drawn)."""
    ids_sha256: Hash
    samples: Count
    length: Count
    spans: tuple[Span, ...]
    """Token offsets in the text, end exclusive; adjacent windows are joined."""

    @property
    def measured(self) -> bool:
        """Whether a metric was measured on it."""
        return self.role not in ("calibration", *STREAMS)


class Hardware(StrictModel):
    """The machine a run was measured on."""

    cpu: Line
    cores: Count
    threads: Count
    """Number of torch threads."""
    memory: Count
    """Main memory in bytes."""
    accelerator: Line | None
    """Product name of the accelerator, if one was used."""
    system: Line
    model: Line | None = Field(default=None, exclude_if=lambda value: value is None)
    """Vendor, family and model of the processor; not written before December 6, 2026."""
    capability: Line | None = Field(default=None, exclude_if=lambda value: value is None)
    """Vector instructions that torch used, such as `AVX2`; not written before December 6, 2026."""
    precision: Line | None = Field(default=None, exclude_if=lambda value: value is None)
    """Arithmetic of the accelerator: TF32, precision of products, deterministic algorithms."""

    @property
    def machine(self) -> str:
        """Key of the machine; speeds are only comparable between equal keys."""
        return f"{self.cpu}/{self.cores}/{self.accelerator}"

    @property
    def timing(self) -> str:
        """Machine and threads for readers; seconds are only comparable between equal ones."""
        threads = f"{self.threads} {'thread' if self.threads == 1 else 'threads'}"
        return ", ".join(filter(None, (self.accelerator, self.model or self.cpu, threads)))

    @property
    def conditions(self) -> dict[str, str | int | None]:
        """The part that affects values; equal conditions give equal values.

        With the instructions of published records, processors of all vendors agree.
        """
        fields = ["capability", "threads", "accelerator", "precision"]
        if self.capability != STANDARD:
            fields += ["cpu", "model"]
        return {name: getattr(self, name) for name in fields}

    @property
    def standard(self) -> bool:
        """Whether these are the conditions of published CPU records: AVX2 and one thread."""
        return (self.capability, self.threads) == (STANDARD, 1)


class Peak(StrictModel):
    """Peak memory of pruning and of a fine-tuning after it, in bytes.

    Runs that do neither (the dense model, methods that act while the model runs) record the peak of
    measuring.
    """

    bytes: Count
    start: Count
    """Memory in use at the start, which includes the model."""
    how: Text
    """Description of the instrument."""

    @property
    def above_start(self) -> int:
        """Peak memory that the work added."""
        return self.bytes - self.start


class Footprint(StrictModel):
    """Size and cost of a model; tied parameters count once, zeros count as parameters."""

    parameters: Count
    nonzero: Count
    bytes: Count
    """Size of the parameters in their dtypes, as in a dense checkpoint."""
    macs: Count
    """Multiply-accumulates of the linear layers per token, including the head and multiplications
    by zero but not the attention scores (`2 * heads * head_size` per block and earlier token)."""
    weights: Count | None = Field(default=None, exclude_if=lambda weights: weights is None)
    """Weights of the blocks' linear layers and experts, the base of sparsities; not written before
    December 7, 2026."""
    bits: Bits | None = Field(default=None, exclude_if=lambda bits: bits is None)
    """Bits per weight of the blocks' linear layers, including masks and scales, if the method
    quantises; otherwise None and not written."""

    @model_validator(mode="after")
    def _nonzero_at_most_parameters(self) -> Self:
        if self.nonzero > self.parameters:
            raise ValueError("nonzero must not exceed parameters")
        return self


class Rate(StrictModel):
    """Tokens per second of the dense and the pruned model, medians of interleaved repeats."""

    dense: Positive
    pruned: Positive
    ratio: Positive
    """Median over the repeats of pruned / dense."""
    low: Positive
    high: Positive
    """Lowest and highest ratio of any repeat."""

    @model_validator(mode="after")
    def _ratio_between_extremes(self) -> Self:
        if not self.low <= self.ratio <= self.high:
            raise ValueError("ratio must lie between low and high")
        return self

    @property
    def spread(self) -> float:
        """Highest over lowest ratio of the repeats."""
        return self.high / self.low


class Speed(StrictModel):
    """Measured speed of a structured result, or a note on why it was not measured."""

    note: Text
    prefill: Rate | None = None
    """Prompt tokens read per second."""
    decode: Rate | None = None
    """Tokens generated per second, with key/value cache, over the whole batch."""

    @property
    def spread(self) -> float:
        """Highest over lowest ratio of the repeats, of the more variable of both rates."""
        return max((rate.spread for rate in (self.prefill, self.decode) if rate), default=1.0)

    @property
    def steady(self) -> bool:
        """Whether the repeats agree well enough to publish the ratios."""
        return self.spread <= LARGEST_SPREAD


class Dense(StrictModel):
    """The same measurements of the dense model, and the run that they come from."""

    run: RunName
    values: dict[ValueName, float]
    footprint: Footprint


class Record(StrictModel):
    """One run of one method, or of the dense model (method `dense`)."""

    schema_version: int = Field(ge=SCHEMA_VERSION, le=SCHEMA_VERSION)
    run: RunName
    """Name of this execution: its time and the start of the key."""
    key: Hash
    """Hash of the request (see `key_of`); runs with equal keys should have equal values."""
    name: FileName
    """Readable name of the file; if it is taken, the file's name also has the start of the key."""
    date: Utc
    measurement: Few
    """Version of the code that measured (see `MEASUREMENT`)."""
    revision: Few
    """Version of the method's code (see `Method.revision`)."""
    command: Command
    """Command that repeats the run from a checkout."""

    method: Slug
    external: External | None = Field(default=None, exclude_if=lambda value: value is None)
    """The origin of a method outside the atlas; not written for others."""
    granularity: tuple[Line, ...]
    configuration: dict[FieldName, Plain]
    """All fields of the method with their values."""
    changed: tuple[FieldName, ...]
    """Fields, other than sparsity and pattern, that differ from the method's defaults."""
    requested: Share
    achieved: Share
    details: dict[Line, Plain]
    """Information that the method reports about this run."""

    protocol: Protocol
    seed: Seed
    """Random seed of the calibration set and of the method."""
    tasks: tuple[Line, ...] = ()
    tasks_sha256: Hash | None = None
    """Hash of the questions of all tasks and of the files in the task folder, if there is one."""
    model: ModelInfo
    texts: tuple[TextInfo, ...]
    disjoint: Text
    """Result of the check that calibration and evaluation texts do not overlap."""

    values: dict[ValueName, float]
    """Measured values by name, such as `ppl/wikipedia/1024`. Records made before November 29, 2026
    lack divergence and agreement (`kl/...`, `agreement/...`)."""
    dense: Dense
    footprint: Footprint
    speed: Speed
    course: Course | None = Field(default=None, exclude_if=lambda value: value is None)
    """Course of the training that is part of the method; not written without one."""
    recovered: Recovered | None = Field(default=None, exclude_if=lambda value: value is None)
    """Course of the fine-tuning after pruning, with the values before it. `dense` is then the dense
    model after the same fine-tuning, or the dense model itself if it was the teacher. Not written
    without one."""
    sample: Text
    """The protocol's prompt with its greedy continuation."""
    labels: tuple[Line, ...]
    """`collapsed` if a perplexity is more than 50 times the dense one, and `external` for a method
    outside the atlas."""
    warnings: tuple[Text, ...]

    seconds: dict[Line, NonNegative]
    """Duration of each phase; on one CPU thread, its processor time. Before December 6, 2026, it
    was always the time on the clock, which other work on the machine lengthens."""
    peak: Peak
    hardware: Hardware
    processes: Count = Field(default=1, exclude_if=lambda value: value == 1)
    """Number of processes that shared the calibration set; not written for one."""
    versions: dict[Line, Line]
    commit: Revision | None
    """Commit of the checkout; None outside one."""
    dirty: bool | None
    """Whether the checkout had uncommitted changes."""
    tolerance: dict[Line, Tolerance] = Field(
        default_factory=dict, exclude_if=lambda value: not value
    )
    """Not written since December 6, 2026: `verify` uses the tolerances of the code."""

    @model_validator(mode="after")
    def _valid_configuration(self) -> Self:
        missing = [name for name in self.changed if name not in self.configuration]
        if missing:
            raise ValueError(f"{missing[0]} is listed in changed but not in configuration")
        if self.method == DENSE:
            return self
        share, pattern = (self.configuration.get(name) for name in ("sparsity", "pattern"))
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
            raise ValueError("configuration.sparsity must be a number between 0 and 1")
        if pattern is not None and not (isinstance(pattern, str) and PATTERN.fullmatch(pattern)):
            raise ValueError("configuration.pattern must have the form KEEP:GROUP")
        return self

    @model_validator(mode="after")
    def _possible_values(self) -> Self:
        before = {} if self.recovered is None else self.recovered.before
        for values in (self.values, self.dense.values, before):
            for name, value in values.items():
                low, high = metric(name).range
                if not low <= value <= high:
                    raise ValueError(f"{name} must be between {low:g} and {high:g}, got {value:g}")
        return self

    @model_validator(mode="after")
    def _achieved_matches_counts(self) -> Self:
        dense, pruned = self.dense.footprint, self.footprint
        if self.structured or self.method == DENSE:
            same = (dense.parameters, dense.macs) == (pruned.parameters, pruned.macs)
            agrees = not (same and self.achieved > SLACK)
        else:
            # Without the number of weights, the share of the head and the embedding is unknown.
            low, high = dense.macs / 4, dense.parameters
            if dense.weights is not None:
                low = high = dense.weights
            # The dense model may have zeros inside and outside of the blocks.
            fewest, most = dense.nonzero - pruned.nonzero, dense.parameters - pruned.nonzero
            agrees = (
                low * self.achieved <= most + SLACK * high
                and high * self.achieved >= fewest - SLACK * high
            )
        if not agrees:
            raise ValueError(
                f"achieved is {self.achieved:g}, which contradicts the counts of footprint and of "
                "dense.footprint"
            )
        return self

    @model_validator(mode="after")
    def _key_matches_content(self) -> Record:
        if self.key != self.key_with(self.seed):
            raise ValueError("key does not match the other fields: the record was edited")
        return self

    @property
    def structured(self) -> bool:
        """Whether the run removed whole units, so that the model became smaller."""
        return bool(self.granularity) and not {"unstructured", "semi-structured"} & set(
            self.granularity
        )

    @property
    def pattern(self) -> str | None:
        """The N:M pattern of the run, if any."""
        pattern = self.configuration.get("pattern")
        return pattern if isinstance(pattern, str) else None

    @property
    def removed(self) -> str:
        """What was requested: `50 %` or `2:4`, with the bits per weight of a method that quantises.

        Empty for the dense model.
        """
        share, bits = self.pattern or f"{100 * self.requested:g} %", self.footprint.bits
        if self.method == DENSE:
            return ""
        return share if bits is None else f"{share}, {bits:.2f} bits"

    @property
    def settings(self) -> str:
        """What was requested, then the fields that differ from their defaults.

        The start of the hash of an external method's file is included, as in `50 % file=3f2a1c`.
        """
        version = [] if self.external is None else [f"file={self.external.sha256[:6]}"]
        return " ".join(filter(None, (self.removed, *self.changes, *version)))

    @property
    def relevant_versions(self) -> dict[str, str | None]:
        """Versions of the packages that affect the values."""
        return relevant_versions(self.versions, self.tasks)

    @property
    def recovery(self) -> Recovery | None:
        """Settings of the fine-tuning after pruning, if any."""
        return None if self.recovered is None else self.recovered.recovery

    @property
    def changes(self) -> list[str]:
        """Fields that differ from their defaults, as `name=value`."""
        return [one_line(f"{name}={self.configuration[name]}") for name in self.changed]

    @property
    def group(self) -> str:
        """Key without the seed, shared by runs that only differ in the seed."""
        return self.key_with(None)

    def key_with(self, seed: int | None) -> str:
        """Compute the key from the other fields, with the given seed."""
        return key_of(
            self.method,
            self.configuration,
            self.protocol,
            measurement=self.measurement,
            revision=self.revision,
            model=self.model,
            texts={text.role: text.source_sha256 for text in self.texts},
            device=self.hardware.accelerator or self.model.device,
            seed=seed,
            tasks=self.tasks,
            tasks_sha256=self.tasks_sha256,
            recovery=self.recovery,
            external=self.external,
        )

    def ratio(self, name: str) -> float | None:
        """Return value / dense value; None if either is missing, or the ratio means nothing."""
        if not metric(name).relative:
            return None
        value, dense = self.values.get(name), self.dense.values.get(name)
        return value / dense if value is not None and dense else None

    def to_json(self) -> str:
        """Return the text of the record file, with a stable order of keys."""
        return format_json(self.model_dump(mode="json")) + "\n"


def relevant_versions(versions: Mapping[str, str], tasks: Iterable[str]) -> dict[str, str | None]:
    """Select the versions that affect the values; lm-eval only if there are `tasks`."""
    names = (*RELEVANT_PACKAGES, "lm-eval") if tasks else RELEVANT_PACKAGES
    return {name: versions.get(name) for name in names}


def key_of(
    method: str,
    configuration: dict[str, Any],
    protocol: Protocol,
    *,
    measurement: int,
    revision: int,
    model: ModelInfo,
    texts: Mapping[str, str],
    device: str,
    seed: int | None,
    tasks: Iterable[str] = (),
    tasks_sha256: str | None = None,
    recovery: Recovery | None = None,
    external: External | None = None,
) -> str:
    """Hash the request of a run and its inputs; `texts` maps roles to hashes of sources.

    The settings of a training text are only included if the run reads it.
    """
    request = {
        "method": method,
        "configuration": configuration,
        "protocol": protocol.fingerprint,
        "measurement": measurement,
        "revision": revision,
        "model": [model.sha256 or model.source, model.config_sha256, model.tokenizer_sha256],
        "texts": dict(texts),
        "dtype": model.dtype,
        "device": device,
        "seed": seed,
        "tasks": [sorted(tasks), tasks_sha256],
    }
    if external is not None:
        request["external"] = external.sha256
    if recovery is not None:
        request["recovery"] = recovery.model_dump(mode="json")
    for role in STREAMS:
        text: TrainingText | None = getattr(protocol, role)
        if role in texts and text is not None:
            request[role] = text.model_dump(mode="json")
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
