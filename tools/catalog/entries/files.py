"""Writing a file of the catalog: all of it or nothing."""

from __future__ import annotations

from pathlib import Path

from implementations.harness.results.files import atomic_file


class WriteError(Exception):
    """A file that could not be written; the message names it and the reason."""


def make_folder(folder: Path) -> None:
    """Create a folder and those above it; raises `WriteError`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(f"{folder} was not created: {error.strerror or error}") from error


def write_file(path: Path, text: str, *, force: bool = False) -> None:
    """Write a text file; `force` replaces an existing one.

    Raises:
        WriteError: the file exists already, or the disk does not accept it.
    """
    try:
        with atomic_file(path, replace=force) as file:
            file.write(text.encode())
    except FileExistsError:
        raise WriteError(f"{path} exists already and was not changed") from None
    except OSError as error:
        raise WriteError(f"{path} was not written: {error.strerror or error}") from error
