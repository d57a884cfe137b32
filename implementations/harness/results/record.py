"""The record of one run: everything needed to read its numbers, trust them and run it again.

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

from implementations.harness.results.bounds import (
    Command,
    Count,
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
    Text,
    ValueName,
    one_line,
)
from implementations.harness.results.files import layout
from implementations.harness.results.metric import Tolerance
from implementations.harness.results.part import Part
from implementations.harness.results.protocol import STREAMS, Protocol, TrainingText
from implementations.harness.results.recovery import Course, Recovered, Recovery

SCHEMA_VERSION = 2
DENSE = "dense"  # the method of a run that prunes nothing
NO_SPEED_UP = "no speed-up expected on dense kernels"
PATTERN = re.compile(r"[1-9][0-9]{0,5}:[1-9][0-9]{0,5}")
DECIDING = ("torch", "transformers", "tokenizers")  # packages whose version decides numbers


def _in_our_time(date: datetime) -> datetime:
    """Refuse years that no clock shows; the very first and last ones belong to no other zone."""
    if not (2000 <= date.year < 2200 and 2000 <= date.astimezone(UTC).year < 2200):
        raise ValueError("no year between 2000 and 2199")
    return date


Bits = Annotated[float, Field(gt=0, le=64)]
Utc = Annotated[
    AwareDatetime,
    AfterValidator(_in_our_time),
    PlainSerializer(lambda date: date.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")),
]


class ModelInfo(Part):
    """The model that was loaded, before pruning."""

    name: Line
    source: Text
    sha256: Revision | None
    """Hash of the weights as read, or the hub's revision; None for a model of no file."""
    config_sha256: Revision | None
    """Hash of the configuration, in whatever layout it is written."""
    tokenizer_sha256: Revision | None
    """Hash of the tokenizer's files."""
    family: Line
    dtype: Line
    device: Line
    accelerator: Line
    """Where one block at a time was worked on; the device unless asked otherwise."""
    parameters: Count


class TextInfo(Part):
    """A text that was calibrated on or measured."""

    role: Line
    """`calibration`, `training`, `domain`, or the metric measured on it."""
    source: Place
    source_sha256: Hash
    """Hash of what stood under that name: the text, or the file that documents are drawn from."""
    text_sha256: Hash
    """Hash of the text that the spans refer to; of documents those drawn alone."""
    ids_sha256: Hash
    samples: Count
    length: Count
    spans: tuple[Span, ...]
    """Token offsets in the source, end exclusive; adjacent windows are joined."""

    @property
    def measured(self) -> bool:
        """Whether a metric was measured on it."""
        return self.role not in ("calibration", *STREAMS)


class Hardware(Part):
    """The machine a run was measured on."""

    cpu: Line
    cores: Count
    threads: Count
    """Threads that torch used."""
    memory: Count
    """Bytes of main memory."""
    accelerator: Line | None
    """Name of the accelerator that was used, if any."""
    system: Line

    @property
    def machine(self) -> str:
        """What must be equal for two measurements of time to be comparable."""
        return f"{self.cpu}/{self.cores}/{self.accelerator}"


class Peak(Part):
    """Most memory in use during a piece of work, here pruning (dense: measuring), in bytes."""

    bytes: Count
    start: Count
    """In use when the work began, the model included."""
    how: Text
    """What was read, in words."""

    @property
    def above_start(self) -> int:
        """What the work itself needed at most."""
        return self.bytes - self.start


class Footprint(Part):
    """What a model weighs; tied parameters count once, zeros count like any other number."""

    parameters: Count
    nonzero: Count
    bytes: Count
    """Of the parameters in their dtypes, as a dense checkpoint stores them."""
    macs: Count
    """Multiply-accumulates of the linear layers a token, those of the head included and zeros not
    left out. Attention scores are not in it: they add `2 * heads * head_size` a block for each
    token seen."""
    bits: Bits | None = Field(default=None, exclude_if=lambda bits: bits is None)
    """Bits a weight of the blocks' linear layers could be stored in, masks and scales included,
    where the method quantises; None, and not written, where they keep their dtype."""

    @model_validator(mode="after")
    def _no_more_than_all(self) -> Self:
        if self.nonzero > self.parameters:
            raise ValueError("more parameters are not zero than there are")
        return self


class Rate(Part):
    """Tokens a second of the dense and the pruned model, medians of interleaved repeats."""

    dense: Positive
    pruned: Positive
    ratio: Positive
    """Median of pruned / dense, repeat by repeat."""
    low: Positive
    high: Positive
    """Lowest and highest ratio of any repeat."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.low <= self.ratio <= self.high:
            raise ValueError("the ratio is not between the lowest and the highest")
        return self


class Speed(Part):
    """Measured speed of a structured result, or the words that none is expected."""

    note: Text
    prefill: Rate | None = None
    """Tokens of the prompts read a second."""
    decode: Rate | None = None
    """Tokens written a second, one step of the whole batch after the other, with cache."""


class Dense(Part):
    """The same measurements of the unpruned model, and the run they came from."""

    run: RunName
    values: dict[ValueName, float]
    footprint: Footprint


class Record(Part):
    """One run of one method, or of the dense model (method `dense`)."""

    schema_version: int = Field(default=SCHEMA_VERSION, ge=SCHEMA_VERSION, le=SCHEMA_VERSION)
    run: RunName
    """Names this execution: time and the start of the key."""
    key: Hash
    """Hash of what was asked for, as `key_of` takes it from the fields below; equal keys should
    give equal values."""
    name: FileName
    """Readable and unique within method and protocol; the file is called so."""
    date: Utc
    command: Command
    """What repeats it from a checkout."""

    method: Slug
    granularity: tuple[Line, ...]
    configuration: dict[FieldName, Plain]
    """Every field of the method with its value."""
    changed: tuple[FieldName, ...]
    """Fields, other than sparsity and pattern, that differ from the method's default."""
    asked: Share
    achieved: Share
    details: dict[Line, Plain]
    """What the method says of itself."""

    protocol: Protocol
    seed: Seed
    """Draws the calibration and whatever else is random."""
    tasks: tuple[Line, ...] = ()
    tasks_sha256: Hash | None = None
    """Hash of the questions of the tasks and of the files in the task folder, where there was one.
    In older records that of the folder alone."""
    model: ModelInfo
    texts: tuple[TextInfo, ...]
    disjoint: Text
    """The check that calibration and evaluation share no text, in words."""

    values: dict[ValueName, float]
    """By name, such as `ppl/wikipedia/1024`; lower is better for `ppl`."""
    dense: Dense
    footprint: Footprint
    speed: Speed
    course: Course | None = Field(default=None, exclude_if=lambda value: value is None)
    """The training that is part of the method, where there is one. Not written where not."""
    recovered: Recovered | None = Field(default=None, exclude_if=lambda value: value is None)
    """The training after pruning, where there was one, with the values before; the dense row is
    then that of the dense model after the same. Not written where there was none."""
    sample: Text
    """The protocol's prompt, continued greedily."""
    labels: tuple[Line, ...]
    """`collapsed` where a perplexity is more than 50 times the dense one."""
    warnings: tuple[Text, ...]

    seconds: dict[Line, NonNegative]
    """By phase."""
    peak: Peak
    hardware: Hardware
    versions: dict[Line, Line]
    commit: Revision | None
    """Of the checkout; None outside one."""
    dirty: bool | None
    """Whether the checkout had changes."""
    tolerance: dict[Line, Tolerance]
    """What counted as a repetition when this was written; the code says what counts now."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        missing = [name for name in self.changed if name not in self.configuration]
        if missing:
            raise ValueError(f"{missing[0]} has changed, but is not in the configuration")
        if self.method == DENSE:
            return self
        share, pattern = (self.configuration.get(name) for name in ("sparsity", "pattern"))
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
            raise ValueError("the sparsity of the configuration is no share")
        if pattern is not None and not (isinstance(pattern, str) and PATTERN.fullmatch(pattern)):
            raise ValueError("the pattern of the configuration is none")
        return self

    @model_validator(mode="after")
    def _the_key_is_that_of_its_content(self) -> Record:
        if self.key != self.key_with(self.seed):
            raise ValueError("the key is not that of what the record says it ran: it was edited")
        return self

    @property
    def structured(self) -> bool:
        """Whether units were really removed."""
        return bool(self.granularity) and not {"unstructured", "semi-structured"} & set(
            self.granularity
        )

    @property
    def pattern(self) -> str | None:
        """The N:M pattern, if the run had one."""
        pattern = self.configuration.get("pattern")
        return pattern if isinstance(pattern, str) else None

    @property
    def settings(self) -> str:
        """What was asked for, to read: `50 %` or `2:4`, then what differs from the defaults.

        With bits a weight where the method quantises, as in `50 %, 1.52 bits`: so such a run is
        never taken for one that only prunes as much.
        """
        if self.method == DENSE:
            return ""
        share, bits = self.pattern or f"{100 * self.asked:g} %", self.footprint.bits
        return " ".join([share if bits is None else f"{share}, {bits:.2f} bits", *self.changes])

    @property
    def relevant_versions(self) -> dict[str, str | None]:
        """The versions that the values depend on."""
        return relevant_versions(self.versions, self.tasks)

    @property
    def recovery(self) -> Recovery | None:
        """The training that was asked for after pruning."""
        return None if self.recovered is None else self.recovered.recovery

    @property
    def changes(self) -> list[str]:
        """What differs from the defaults, each to be shown on a line."""
        return [one_line(f"{name}={self.configuration[name]}") for name in self.changed]

    @property
    def group(self) -> str:
        """Equal for the runs that differ in nothing but the seed."""
        return self.key_with(None)

    def key_with(self, seed: int | None) -> str:
        """Return the key of what the record says was run, with this seed."""
        return key_of(
            self.method,
            self.configuration,
            self.protocol,
            model=self.model,
            texts={text.role: text.source_sha256 for text in self.texts},
            device=self.hardware.accelerator or self.model.device,
            seed=seed,
            tasks=self.tasks,
            tasks_sha256=self.tasks_sha256,
            recovery=self.recovery,
        )

    def ratio(self, name: str) -> float | None:
        """A value as a multiple of the dense one beside it; None where either is missing or 0."""
        value, dense = self.values.get(name), self.dense.values.get(name)
        return value / dense if value is not None and dense else None

    def to_json(self) -> str:
        """The text of the file: stable key order, lists of plain values on one line."""
        return layout(self.model_dump(mode="json")) + "\n"


def relevant_versions(versions: Mapping[str, str], tasks: Iterable[str]) -> dict[str, str | None]:
    """Select the versions that values depend on; that of lm-eval only if there are `tasks`."""
    names = (*DECIDING, "lm-eval") if tasks else DECIDING
    return {name: versions.get(name) for name in names}


def key_of(
    method: str,
    configuration: dict[str, Any],
    protocol: Protocol,
    *,
    model: ModelInfo,
    texts: Mapping[str, str],
    device: str,
    seed: int | None,
    tasks: Iterable[str] = (),
    tasks_sha256: str | None = None,
    recovery: Recovery | None = None,
) -> str:
    """Hash what a run is asked for and what it reads; `texts` are hashes of sources by role.

    How a text is cut to train on counts where something trains.
    """
    asked = {
        "method": method,
        "configuration": configuration,
        "protocol": protocol.fingerprint,
        "model": [model.sha256 or model.source, model.config_sha256, model.tokenizer_sha256],
        "texts": dict(texts),
        "dtype": model.dtype,
        "device": device,
        "seed": seed,
        "tasks": [sorted(tasks), tasks_sha256],
    }
    if recovery is not None:
        asked["recovery"] = recovery.model_dump(mode="json")
    for role in STREAMS:
        text: TrainingText | None = getattr(protocol, role)
        if role in texts and text is not None:
            asked[role] = text.model_dump(mode="json")
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
