"""Files that appear whole or not at all, and JSON laid out for people."""

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
def whole(path: Path, *, replace: bool = True) -> Iterator[IO[bytes]]:
    """Open a file that appears at `path` when the block ends, and never if it raises.

    It is written beside its place, brought to the disk and moved there. What a killed process
    leaves is called `.<name>.<random>.tmp` and goes by `remove_leftovers`.

    Raises:
        FileExistsError: without `replace`, if there is a file at the end.
        OSError: the folder is missing or cannot be written, or the disk is full.
    """
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with beside.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if replace:
            beside.replace(path)
        else:
            path.hardlink_to(beside)  # a link, unlike a move, replaces nothing
    finally:
        beside.unlink(missing_ok=True)


def remove_leftovers(path: Path) -> None:
    """Remove what killed processes left of `path`; only for who is alone at it."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.????????.tmp"):
        left.unlink(missing_ok=True)


def write_whole(path: Path, text: str) -> None:
    """Write a text file at once or not at all, making its folder where that is missing.

    Raises:
        Unavailable: the folder cannot be written or the disk is full; nothing is left behind.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as file:
            file.write(text.encode())
    except OSError as error:
        raise Unavailable(f"cannot write {path}: {error.strerror}") from error


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
