"""Atomic file writes and readable JSON."""

from __future__ import annotations

import glob
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from implementations.harness.errors import Unavailable


@contextmanager
def atomic_file(path: Path, *, replace: bool = True) -> Iterator[IO[bytes]]:
    """Open a file that appears at `path` at the end of the block, or not at all if it raises.

    It is written to `.<name>.<random>.tmp` in the same folder, synced and renamed. A killed process
    leaves this temporary file, which `remove_leftovers` removes.

    Raises:
        FileExistsError: a file exists at `path` at the end, and `replace` is False.
        OSError: the folder is missing or cannot be written, or the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if replace:
            temporary.replace(path)
        else:
            path.hardlink_to(temporary)  # unlike a rename, fails if the target exists
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(path: Path) -> None:
    """Remove the temporary files that killed processes left for `path`; call with it locked."""
    for temporary in path.parent.glob(f".{glob.escape(path.name)}.????????.tmp"):
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, text: str) -> None:
    """Write a text file atomically and create its folder if needed.

    Raises:
        Unavailable: the folder cannot be written or the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as file:
            file.write(text.encode())
    except OSError as error:
        raise Unavailable(f"cannot write {path}: {error.strerror}") from error


def format_json(value: Any, indent: str = "") -> str:
    """Format JSON with one field per line; a list of plain values stays on one line."""
    inner = indent + "  "
    if isinstance(value, dict) and value:
        rows = [f"{json.dumps(key)}: {format_json(item, inner)}" for key, item in value.items()]
        return "{\n" + inner + f",\n{inner}".join(rows) + f"\n{indent}}}"
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        rows = [format_json(item, inner) for item in value]
        return "[\n" + inner + f",\n{inner}".join(rows) + f"\n{indent}]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
