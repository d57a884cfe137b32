"""Method folders and their record files: listing, saving, publishing and loading.

Needs neither torch nor transformers, and imports no method.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import ValidationError

from implementations.harness.errors import BadInput, Unavailable
from implementations.harness.results.files import (
    check_writable,
    locked,
    remove_leftovers,
    resolve,
    short_path,
    write_atomically,
)
from implementations.harness.results.reading import (
    LONGEST_NAME,
    parse_json,
    read_text,
    validation_problems,
)
from implementations.harness.results.record import DENSE, SCHEMA_VERSION, Record

IMPLEMENTATIONS = Path(__file__).resolve().parents[2]
RUNS = Path("runs")
"""Default folder of your own records."""


def save_record(record: Record, runs: Path) -> Path:
    """Write the record to `runs/<protocol>/<method>` and return its path.

    The write is atomic and locked. A record with the same key is replaced. If the file name is
    taken by anything else, such as a damaged file or the record of another model of the same name,
    that file is kept and the start of the key is appended to the new name.

    Raises:
        BadInput: a link leads out of `runs`.
        Unavailable: the file cannot be written.
    """
    return _save(record, runs_folder(runs, record.protocol.name, record.method))


def runs_folder(runs: Path, protocol: str, method: str) -> Path:
    """Return the folder of a method's records; raises `BadInput` if a link leads out of `runs`."""
    return _inside(runs, Path(protocol, method))


def check_record(runs: Path, protocol: str, method: str) -> None:
    """Check that `save_record` can write, without leaving a file; raises as it does."""
    longest = "n" * (LONGEST_NAME + len("-00000000"))
    check_writable(runs_folder(runs, protocol, method), f"{longest}.json")


def publish_record(record: Record, implementations: Path = IMPLEMENTATIONS) -> Path:
    """Write the record to the `records` folder of its method, or of the harness if it is dense.

    Raises:
        BadInput: the method does not exist here, or a link leads out of its folder.
        Unavailable: the file cannot be written.
    """
    owner = "harness" if record.method == DENSE else record.method
    if record.method != DENSE and not (implementations / owner / f"{owner}.py").is_file():
        raise BadInput(f"cannot publish {record.run}: {implementations} has no method {owner!r}")
    return _save(record, _inside(implementations, Path(owner, "records", record.protocol.name)))


def load_record(path: Path) -> Record:
    """Read one record; raises `BadInput` if the file is damaged or has another schema version."""
    text = read_text(path)
    content = parse_json(text, str(path))
    version = content.get("schema_version") if isinstance(content, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise BadInput(
            f"{path} has record schema {version}, newer than the supported {SCHEMA_VERSION}; "
            "update pruning-atlas to read it"
        )
    if isinstance(version, int) and version < SCHEMA_VERSION:
        raise BadInput(
            f"{path} has record schema {version}, older than the supported {SCHEMA_VERSION}; "
            "delete it and measure it again"
        )
    try:
        return Record.model_validate_json(text)
    except ValidationError as error:
        raise BadInput(f"{path} is not a valid record: {validation_problems(error)}") from error


def load_records(folders: Iterable[Path]) -> list[Record]:
    """Read all records under `folders` in order of path; missing folders are skipped."""
    return [load_record(path) for folder in folders for path in record_files(folder)]


def record_files(folder: Path) -> Iterator[Path]:
    """Yield the record files under `folder` in order, except hidden (temporary) ones."""
    paths = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths += [Path(parent, name) for name in files if name.endswith(".json")]
    for path in sorted(paths):
        if not path.name.startswith("."):
            yield path


def published_folders(implementations: Path = IMPLEMENTATIONS) -> list[Path]:
    """Return the `records` folders of all methods and of the harness (dense model)."""
    return sorted(implementations.glob("*/records"))


def _inside(root: Path, relative: Path) -> Path:
    """Return `root / relative`; raises `BadInput` if a link below `root` leads elsewhere."""
    folder = root / relative
    target = Path(os.path.realpath(folder))
    if target != Path(os.path.realpath(root)) / relative:
        raise BadInput(f"cannot write records to {folder}: it links to {target}; remove the link")
    return folder


def _save(record: Record, folder: Path) -> Path:
    path = resolve(folder) / f"{record.name}.json"
    try:
        with locked(path):
            if _taken(path, record):
                path = path.with_name(f"{record.name}-{record.key[:8]}.json")
            remove_leftovers(path)
            write_atomically(path, record.to_json())
    except OSError as error:
        raise Unavailable(f"cannot write {short_path(path)}: {error.strerror}") from error
    return path


def _taken(path: Path, record: Record) -> bool:
    """Whether `path` is anything but an older record with the same key."""
    try:
        return os.path.lexists(path) and load_record(path).key != record.key
    except BadInput:  # not a readable record; keep it
        return True


def methods(folder: Path = IMPLEMENTATIONS) -> list[str]:
    """List the slugs of all method folders."""
    return sorted(p.parent.name for p in folder.glob("*/*.py") if p.stem == p.parent.name)
