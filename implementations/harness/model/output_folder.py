"""The folder of a saved model: it appears complete or not at all, whatever ends the process."""

from __future__ import annotations

import errno
import glob
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path

from implementations.harness.errors import AtlasError, BadInput, Unavailable
from implementations.harness.results.places import alone, nearest, real, shown, spare

PARTIAL = ".{}.partial-????????"  # finds what is not complete yet, and what is of a killed process
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
PROBE = "x" * 64  # no file of a model has a longer name


def check_output_folder(folder: str | Path) -> Path:
    """Refuse an output folder before any work, by saving nothing there; return where it leads.

    Links are followed. Nothing of the trial stays, and what a killed process left goes.

    Raises:
        BadInput: it is not empty, a file, or the folder one works in.
        Unavailable: it cannot be written, or another process is saving there.
    """
    folder = free_folder(folder)
    with disk_explained(folder):
        if nearest(folder) == folder:  # an empty one is replaced by another
            _try(folder)
            return folder
        with spare(folder) as place:
            _try(place)
        if folder.parent.is_dir():
            with alone(folder):
                _remove_leftovers(folder)
    return folder


def free_folder(folder: str | Path) -> Path:
    """Follow the links of an output folder; raises `BadInput` unless it is missing or empty."""
    folder = real(folder)
    with disk_explained(folder):
        if os.path.lexists(folder) and not folder.is_dir():
            raise BadInput(f"{shown(folder)} is a file; choose a folder")
        if folder.exists() and any(folder.iterdir()):
            raise BadInput(f"{shown(folder)} is not empty; choose a new folder or remove it first")
        if folder.is_mount():
            raise BadInput(f"{shown(folder)} is where a disk is mounted; choose a folder inside it")
        if not folder.name or (folder.exists() and folder.samefile(os.curdir)):
            raise BadInput(f"{shown(folder)} is the folder you work in; choose one inside it")
    if fnmatchcase(folder.name, PARTIAL.format("*")):
        raise BadInput(f"{shown(folder)} is named as what a killed process leaves; choose another")
    return folder


@contextmanager
def published(folder: Path) -> Iterator[Path]:
    """Yield a folder to fill that becomes `folder` at the end, or vanishes after an exception.

    One process at a time fills it; what killed ones have left goes first.

    Raises:
        Unavailable: the folder cannot be written, the disk is full, or another process has come
            first.
    """
    partial = folder.with_name(f".{folder.name}.partial-{secrets.token_hex(4)}")
    with disk_explained(folder), alone(folder):
        _remove_leftovers(folder)
        try:
            partial.mkdir()
            yield partial
            if folder.is_dir():
                shutil.copymode(folder, partial)
                folder.rmdir()  # empty; some systems rename onto nothing only
            partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def disk_explained(folder: Path) -> Iterator[None]:
    """Turn what the disk refuses while `folder` is written into `Unavailable`."""
    try:
        yield
    except Exception as error:
        # What is written in Rust (weights, tokenizer) tells of the disk in words only.
        told = isinstance(error, OSError) or "os error" in str(error)
        if isinstance(error, AtlasError) or not told:
            raise
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        full = not isinstance(error, OSError) or error.errno in FULL
        way = "Free some space or choose" if full else "Choose"
        raise Unavailable(
            f"{shown(folder)} could not be written: {reason}. {way} another folder."
        ) from error


def _try(folder: Path) -> None:
    with published(folder) as partial:
        probe = partial / PROBE
        probe.touch()
        probe.unlink()


def _remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left; whoever is alone at `folder` may."""
    for left in folder.parent.glob(PARTIAL.format(glob.escape(folder.name))):
        shutil.rmtree(left, ignore_errors=True)
