"""The record of one run: everything needed to read its numbers, trust them and run it again.

Reading records needs neither torch nor transformers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import UTC
from typing import Annotated, Any

from pydantic import AwareDatetime, Field, JsonValue, PlainSerializer, model_validator

from implementations.harness.results.files import layout
from implementations.harness.results.metric import Tolerance
from implementations.harness.results.part import Part
from implementations.harness.results.protocol import Protocol

SCHEMA_VERSION = 2
DENSE = "dense"  # the method of a run that prunes nothing
NO_SPEED_UP = "no speed-up expected on dense kernels"
DECIDING = ("torch", "transformers")  # versions that numbers depend on

Utc = Annotated[
    AwareDatetime,
    PlainSerializer(lambda date: date.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")),
]


class ModelInfo(Part):
    """The model that was loaded, before pruning."""

    name: str
    source: str
    sha256: str | None
    """Hash of the weights as read, or the hub's revision; None for a model of no file."""
    config_sha256: str | None
    """Hash of the configuration, in whatever layout it is written."""
    tokenizer_sha256: str | None
    """Hash of the tokenizer's files."""
    family: str
    dtype: str
    device: str
    accelerator: str
    """Where one block at a time was worked on; the device unless asked otherwise."""
    parameters: int


class TextInfo(Part):
    """A text that was calibrated on or measured."""

    role: str
    """`calibration`, `training`, or the metric measured on it."""
    source: str
    source_sha256: str
    """Hash of what stood under that name: the text, or the file that documents are drawn from."""
    text_sha256: str
    """Hash of the text that the spans refer to; of documents those drawn alone."""
    ids_sha256: str
    samples: int
    length: int
    spans: tuple[tuple[int, int], ...]
    """Token offsets in the source, end exclusive; adjacent windows are joined."""

    @property
    def measured(self) -> bool:
        """Whether a metric was measured on it."""
        return self.role not in ("calibration", "training")


class Hardware(Part):
    """The machine a run was measured on."""

    cpu: str
    cores: int
    threads: int
    """Threads that torch used."""
    memory: int
    """Bytes of main memory."""
    accelerator: str | None
    """Name of the accelerator that was used, if any."""
    system: str

    @property
    def machine(self) -> str:
        """What must be equal for two measurements of time to be comparable."""
        return f"{self.cpu}/{self.cores}/{self.accelerator}"


class Peak(Part):
    """Most memory in use during a piece of work, here pruning (dense: measuring), in bytes."""

    bytes: int
    start: int
    """In use when the work began, the model included."""
    how: str
    """What was read, in words."""

    @property
    def above_start(self) -> int:
        """What the work itself needed at most."""
        return self.bytes - self.start


class Footprint(Part):
    """What a model weighs; tied parameters count once, zeros count like any other number."""

    parameters: int
    nonzero: int
    bytes: int
    """Of the parameters in their dtypes, as a dense checkpoint stores them."""
    macs: int
    """Multiply-accumulates of the linear layers a token, those of the head included and zeros not
    left out. Attention scores are not in it: they add `2 * heads * head_size` a block for each
    token seen."""


class Rate(Part):
    """Tokens a second of the dense and the pruned model, medians of interleaved repeats."""

    dense: float
    pruned: float
    ratio: float
    """Median of pruned / dense, repeat by repeat."""
    low: float
    high: float
    """Lowest and highest ratio of any repeat."""


class Speed(Part):
    """Measured speed of a structured result, or the words that none is expected."""

    note: str
    prefill: Rate | None = None
    """Tokens of the prompts read a second."""
    decode: Rate | None = None
    """Tokens written a second, one step of the whole batch after the other, with cache."""


class Dense(Part):
    """The same measurements of the unpruned model, and the run they came from."""

    run: str
    values: dict[str, float]
    footprint: Footprint


class Record(Part):
    """One run of one method, or of the dense model (method `dense`)."""

    schema_version: int = Field(default=SCHEMA_VERSION, ge=SCHEMA_VERSION, le=SCHEMA_VERSION)
    run: str
    """Names this execution: time and the start of the key."""
    key: str
    """Hash of what was asked for, as `key_of` takes it from the fields below; equal keys should
    give equal values."""
    name: str
    """Readable and unique within method and protocol; the file is called so."""
    date: Utc
    command: str
    """What repeats it from a checkout."""

    method: str
    granularity: tuple[str, ...]
    configuration: dict[str, JsonValue]
    """Every field of the method with its value."""
    changed: tuple[str, ...]
    """Fields, other than sparsity and pattern, that differ from the method's default."""
    asked: float
    achieved: float
    details: dict[str, JsonValue]
    """What the method says of itself."""

    protocol: Protocol
    seed: int
    """Draws the calibration and whatever else is random."""
    tasks: tuple[str, ...] = ()
    tasks_sha256: str | None = None
    """Hash of the folder with task files of one's own, where there was one."""
    model: ModelInfo
    texts: tuple[TextInfo, ...]
    disjoint: str
    """The check that calibration and evaluation share no text, in words."""

    values: dict[str, float]
    """By name, such as `ppl/wikipedia/1024`; lower is better for `ppl`."""
    dense: Dense
    footprint: Footprint
    speed: Speed
    sample: str
    """The protocol's prompt, continued greedily."""
    labels: tuple[str, ...]
    """`collapsed` where a perplexity is more than 50 times the dense one."""
    warnings: tuple[str, ...]

    seconds: dict[str, float]
    """By phase."""
    peak: Peak
    hardware: Hardware
    versions: dict[str, str]
    commit: str | None
    """Of the checkout; None outside one."""
    dirty: bool | None
    """Whether the checkout had changes."""
    tolerance: dict[str, Tolerance]

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
        """What was asked for, to read: `50 %` or `2:4`, then what differs from the defaults."""
        if self.method == DENSE:
            return ""
        share = self.pattern or f"{100 * self.asked:g} %"
        return " ".join([share, *(f"{name}={self.configuration[name]}" for name in self.changed)])

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
        )

    def ratio(self, name: str) -> float | None:
        """A value as a multiple of the dense one beside it; None where either is missing or 0."""
        value, dense = self.values.get(name), self.dense.values.get(name)
        return value / dense if value is not None and dense else None

    def to_json(self) -> str:
        """The text of the file: stable key order, lists of plain values on one line."""
        return layout(self.model_dump(mode="json")) + "\n"


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
) -> str:
    """Hash what a run is asked for and what it reads; `texts` are hashes of sources by role.

    How a text is cut to train on counts for a method that trains.
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
    if "training" in texts and protocol.training is not None:
        asked["training"] = protocol.training.model_dump(mode="json")
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
