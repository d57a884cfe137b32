"""The record of one run: everything needed to read its numbers, trust them and run it again.

Reading records needs neither torch nor transformers.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from datetime import UTC
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    PlainSerializer,
    ValidationError,
)

from implementations.harness.errors import BadInput, Unavailable
from implementations.harness.results.protocol import Protocol, problems

SCHEMA_VERSION = 1
COLLAPSED = 50  # times the dense perplexity
NO_SPEED_UP = "no speed-up expected on dense kernels"
DECIDING = ("torch", "transformers")  # versions that numbers depend on
IMPLEMENTATIONS = Path(__file__).resolve().parents[2]

Utc = Annotated[
    AwareDatetime,
    PlainSerializer(lambda date: date.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")),
]


class Part(BaseModel):
    """Base of the parts of a record: frozen, strict, and nothing unknown is accepted."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class ModelInfo(Part):
    """The model that was loaded, before pruning."""

    name: str
    source: str
    sha256: str | None
    """Hash of the weights as read; None for a model that came from no file."""
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
    text_sha256: str
    ids_sha256: str
    samples: int
    length: int
    spans: tuple[tuple[int, int], ...]
    """Token offsets in the source, end exclusive; adjacent windows are joined."""


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
    """Most memory in use while pruning (dense: while measuring), and how that was read."""

    bytes: int
    start: int
    """In use when pruning began, the model included."""
    how: str


class Footprint(Part):
    """What a model weighs; `macs` are multiply-accumulates of its linear layers a token."""

    parameters: int
    nonzero: int
    bytes: int
    macs: int


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
    decode: Rate | None = None


class Dense(Part):
    """The same measurements of the unpruned model, and the run they came from."""

    run: str
    values: dict[str, float]
    footprint: Footprint


class Tolerance(Part):
    """Largest relative difference with which a repetition still agrees."""

    same_machine: float
    elsewhere: float


# By the kind of value, the word before the first slash. On other hardware the last bits of a
# product differ, so masks differ where two scores nearly tie.
TOLERANCES = {
    "ppl": Tolerance(same_machine=1e-4, elsewhere=1e-2),
    "achieved": Tolerance(same_machine=1e-9, elsewhere=1e-3),
    "task": Tolerance(same_machine=1e-9, elsewhere=5e-2),
}


class Record(Part):
    """One run of one method, or of the dense model (method `dense`)."""

    current: ClassVar[int] = SCHEMA_VERSION

    schema_version: int = Field(default=SCHEMA_VERSION, ge=1, le=SCHEMA_VERSION)
    run: str
    """Names this execution: time and the start of the key."""
    key: str
    """Hash of what was asked for; equal keys should give equal values."""
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
        if self.method == "dense":
            return ""
        share = self.pattern or f"{100 * self.asked:g} %"
        return " ".join([share, *(f"{name}={self.configuration[name]}" for name in self.changed)])

    @property
    def group(self) -> str:
        """Equal for the runs that differ in nothing but the seed."""
        return key_of(
            self.method,
            self.configuration,
            self.protocol,
            model=self.model.sha256 or self.model.source,
            dtype=self.model.dtype,
            device=self.hardware.accelerator or self.model.device,
            seed=None,
            tasks=self.tasks,
            trains=any(text.role == "training" for text in self.texts),
        )

    def to_json(self) -> str:
        """The text of the file: stable key order, lists of plain values on one line."""
        return layout(self.model_dump(mode="json")) + "\n"


def key_of(
    method: str,
    configuration: dict[str, Any],
    protocol: Protocol,
    *,
    model: str,
    dtype: str,
    device: str,
    seed: int | None,
    tasks: Iterable[str] = (),
    trains: bool = False,
) -> str:
    """Hash what a run is asked for; `model` is the hash of its weights, else its source.

    The text to train on counts for a method that trains.
    """
    asked = {
        "method": method,
        "configuration": configuration,
        "protocol": protocol.fingerprint,
        "model": model,
        "dtype": dtype,
        "device": device,
        "seed": seed,
        "tasks": sorted(tasks),
    }
    if trains and protocol.training is not None:
        asked["training"] = protocol.training.model_dump(mode="json")
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def layout(value: Any, indent: str = "") -> str:
    """Write JSON for people: one field a line, but a list of plain values stays on its line."""
    inner = indent + "  "
    if isinstance(value, dict) and value:
        rows = [f"{json.dumps(key)}: {layout(item, inner)}" for key, item in value.items()]
        return "{\n" + inner + f",\n{inner}".join(rows) + f"\n{indent}}}"
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        rows = [layout(item, inner) for item in value]
        return "[\n" + inner + f",\n{inner}".join(rows) + f"\n{indent}]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def save_record(record: Record, runs: Path) -> Path:
    """Write the record into a folder of runs, by protocol and method, and return its path.

    It is written at once or not at all. A record of the same request is replaced; one of another
    request under the same name (a model of the same name, say) is kept, and the new one gets the
    start of its key in its name. Raises `Unavailable` when it cannot be written.
    """
    return _save(record, runs / record.protocol.name / record.method)


def publish_record(record: Record, implementations: Path = IMPLEMENTATIONS) -> Path:
    """Write the record into the folder of its method, as `save_record` does.

    The dense model belongs to no method; its records lie with the harness.
    """
    owner = "harness" if record.method == "dense" else record.method
    return _save(record, implementations / owner / "records" / record.protocol.name)


def load_record(path: Path) -> Record:
    """Read one record; raises `BadInput` naming a file that is damaged or of a newer schema."""
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text)
    except OSError as error:
        raise BadInput(f"cannot read the record {path}: {error.strerror}") from error
    except ValueError as error:
        raise BadInput(f"{path} is not a record: damaged JSON ({error})") from error
    version = content.get("schema_version") if isinstance(content, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise BadInput(
            f"{path} has record schema {version}, newer than {SCHEMA_VERSION}, the newest known "
            "here; update pruning-atlas to read it"
        )
    try:
        return Record.model_validate_json(text)
    except ValidationError as error:
        raise BadInput(f"{path} is not a valid record: {problems(error)}") from error


def load_records(folders: Iterable[Path]) -> list[Record]:
    """Read every record under `folders`, in order of path; a folder that is missing holds none."""
    return [load_record(path) for folder in folders for path in record_files(folder)]


def record_files(folder: Path) -> Iterator[Path]:
    """Yield the record files under `folder` in order, without what killed writers left."""
    for path in sorted(folder.rglob("*.json")):
        if not path.name.startswith(".") and path.name != "support.json":
            yield path


def published_folders(implementations: Path = IMPLEMENTATIONS) -> list[Path]:
    """The `records` folders of the methods, and of the harness for the dense model."""
    return sorted(implementations.glob("*/records"))


def write_whole(path: Path, text: str) -> None:
    """Write a text file at once or not at all, making its folder where that is missing.

    Raises:
        Unavailable: the folder cannot be written or the disk is full; nothing is left behind.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file:
            temporary = Path(file.name)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        raise Unavailable(f"cannot write {path}: {error.strerror}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _save(record: Record, folder: Path) -> Path:
    path = folder / f"{record.name}.json"
    if path.exists() and load_record(path).key != record.key:
        path = folder / f"{record.name}-{record.key[:8]}.json"
    write_whole(path, record.to_json())
    return path


def _umask() -> int:
    """The process's mask for new files; temporary files are private and must become ordinary."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
