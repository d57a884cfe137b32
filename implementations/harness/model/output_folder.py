"""Output folders of saved models, which are written completely or not at all."""

from __future__ import annotations

import glob
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from implementations.harness.errors import AtlasError, BadInput, Unavailable
from implementations.harness.results.write_access import check_writable, locked, resolve, short_path


def check_output_folder(folder: str | Path) -> None:
    """Check that a model can be saved to `folder`, without leaving a trace.

    Raises:
        BadInput: the folder is not empty, or is a file.
        Unavailable: the folder is not writable.
    """
    folder = resolve_output_folder(folder)
    check_writable(folder.parent, folder.name)


def resolve_output_folder(folder: str | Path) -> Path:
    """Follow the links of an output folder; raises `BadInput` unless it is missing or empty."""
    folder = resolve(folder)
    if folder.is_dir() and any(folder.iterdir()):
        raise BadInput(f"{short_path(folder)} is not empty; choose a new folder or remove it first")
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"{short_path(folder)} is a file; choose a folder")
    return folder


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder that is renamed to `folder` at the end, or removed on an exception.

    A killed process leaves a `.<name>.partial-*` next to it, which the next call removes.

    Raises `Unavailable` if the folder is not writable, the disk is full, or another process has
    filled the folder.
    """
    prefix = f".{folder.name}.partial-"
    with _disk_errors_explained(folder), locked(folder):
        for abandoned in folder.parent.glob(f"{glob.escape(prefix)}*"):
            shutil.rmtree(abandoned, ignore_errors=True)
        with TemporaryDirectory(prefix=prefix, dir=folder.parent) as partial:
            made = Path(partial, "model")
            made.mkdir()
            yield made
            if folder.is_dir():
                folder.rmdir()  # empty; some systems cannot rename onto a folder
            made.rename(folder)


@contextmanager
def _disk_errors_explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # safetensors and tokenizers raise from Rust, with "os error" in the message only.
        disk = isinstance(error, OSError) or "os error" in str(error)
        if isinstance(error, AtlasError) or not disk:
            raise
        reason = getattr(error, "strerror", None) or error
        raise Unavailable(
            f"{short_path(folder)} could not be written: {reason}. Choose another folder or free "
            "some space."
        ) from error
