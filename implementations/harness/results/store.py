"""Records as files: written whole, read with a message that names what is wrong, found by folder.

Needs neither torch nor transformers.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import ValidationError

from implementations.harness.errors import BadInput, Unavailable
from implementations.harness.results.bounds import LONGEST_NAME
from implementations.harness.results.files import remove_leftovers, write_whole
from implementations.harness.results.part import problems
from implementations.harness.results.places import alone, check_writable, real, shown
from implementations.harness.results.reading import parse_json, read_text
from implementations.harness.results.record import DENSE, SCHEMA_VERSION, Record

IMPLEMENTATIONS = Path(__file__).resolve().parents[2]


def save_record(record: Record, runs: Path) -> Path:
    """Write the record into a folder of runs, by protocol and method, and return its path.

    It is written at once or not at all, by one process at a time. A record of the same request is
    replaced; one of another request under the same name (a model of the same name, say) or a
    damaged one is kept, and the new one gets the start of its key in its name. Raises `BadInput` as
    `runs_folder` does, and `Unavailable` when it cannot be written.
    """
    return _save(record, runs_folder(runs, record.protocol.name, record.method))


def runs_folder(runs: Path, protocol: str, method: str) -> Path:
    """The folder of a method's records below `runs`; raises `BadInput` where a link leads away."""
    return _inside(runs, Path(protocol, method))


def check_record(runs: Path, protocol: str, method: str) -> None:
    """Find out by trying whether `save_record` can write; raises as it does, leaves nothing."""
    longest = "n" * (LONGEST_NAME + len("-00000000"))
    check_writable(runs_folder(runs, protocol, method), f"{longest}.json")


def publish_record(record: Record, implementations: Path = IMPLEMENTATIONS) -> Path:
    """Write the record into the folder of its method, as `save_record` does.

    The dense model belongs to no method; its records lie with the harness. Raises `BadInput` for a
    method that has no folder here, and where a link leads out of it.
    """
    owner = "harness" if record.method == DENSE else record.method
    if record.method != DENSE and not (implementations / owner / f"{owner}.py").is_file():
        raise BadInput(f"cannot publish {record.run}: {implementations} has no method {owner!r}")
    return _save(record, _inside(implementations, Path(owner, "records", record.protocol.name)))


def load_record(path: Path) -> Record:
    """Read one record; raises `BadInput` naming a file that is damaged or of a newer schema."""
    text = read_text(path)
    content = parse_json(text, str(path))
    version = content.get("schema_version") if isinstance(content, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise BadInput(
            f"{path} has record schema {version}, newer than {SCHEMA_VERSION}, the newest known "
            "here; update pruning-atlas to read it"
        )
    if isinstance(version, int) and version < SCHEMA_VERSION:
        raise BadInput(
            f"{path} has record schema {version}; `atlas migrate {path}` brings it to "
            f"{SCHEMA_VERSION}, the one known here"
        )
    try:
        return Record.model_validate_json(text)
    except ValidationError as error:
        raise BadInput(f"{path} is not a valid record: {problems(error)}") from error


def load_records(folders: Iterable[Path]) -> list[Record]:
    """Read every record under `folders`, in order of path; a folder that is missing holds none."""
    return [load_record(path) for folder in folders for path in record_files(folder)]


def record_files(folder: Path) -> Iterator[Path]:
    """Yield the record files under `folder` in order, without what is hidden.

    What killed writers left is, and what comes and goes meanwhile.
    """
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(place, name) for name in files if name.endswith(".json")]
    for path in sorted(found):
        if not path.name.startswith(".") and path.name != "support.json":
            yield path


def published_folders(implementations: Path = IMPLEMENTATIONS) -> list[Path]:
    """The `records` folders of the methods, and of the harness for the dense model."""
    return sorted(implementations.glob("*/records"))


def _inside(root: Path, place: Path) -> Path:
    """Return `place` below `root`, which no link on the way there may lead away from."""
    folder = root / place
    there = Path(os.path.realpath(folder))
    if there != Path(os.path.realpath(root)) / place:
        raise BadInput(f"records do not go into {folder}: a link leads to {there}; remove it")
    return folder


def _save(record: Record, folder: Path) -> Path:
    path = real(folder) / f"{record.name}.json"
    try:
        with alone(path):
            if _taken(path, record):
                path = path.with_name(f"{record.name}-{record.key[:8]}.json")
            remove_leftovers(path)
            write_whole(path, record.to_json())
    except OSError as error:
        raise Unavailable(f"cannot write {shown(path)}: {error.strerror}") from error
    return path


def _taken(path: Path, record: Record) -> bool:
    """Whether there is something else than an older record of the same request."""
    try:
        return os.path.lexists(path) and load_record(path).key != record.key
    except BadInput:  # whatever it is, a run is not lost for it
        return True
