"""The SHA-256 of each file of a folder, noted in it as `sha256sum` prints them, and compared."""

from pathlib import Path

from implementations.harness.download.storage import file_sha256
from implementations.harness.progress import track

MANIFEST = "SHA256SUMS"
_LARGEST = 100_000  # bytes of a manifest; that of a model has some five hundred


def write_manifest(folder: Path) -> None:
    """Note the hashes of all files in `folder`."""
    lines = [f"{file_sha256(file)}  {file.name}\n" for file in sorted(folder.iterdir())]
    (folder / MANIFEST).write_text("".join(lines))


def read_manifest(folder: Path) -> dict[str, str]:
    """The noted hashes by file name; raises `OSError` or `ValueError` where they are damaged."""
    path = folder / MANIFEST
    if path.stat().st_size > _LARGEST or not path.is_file():
        raise ValueError
    lines = path.read_bytes().decode().split("\n")
    pairs = [line.split("  ") for line in lines if line]
    noted = {name: found for found, name in pairs}
    if len(noted) < len(pairs):
        raise ValueError
    return noted


def damage(folder: Path) -> str | None:
    """What differs between the files in `folder` and their noted hashes, or None."""
    try:
        noted = read_manifest(folder)
        # Hidden files are the system's own, and no library reads a model out of them.
        there = {path.name for path in folder.iterdir() if path.name[0] != "."} - {MANIFEST}
        for name in sorted(there ^ noted.keys()):
            return f"{name!r} is {'missing' if name in noted else 'none of its files'}"
        for name in track(sorted(noted), f"checking {folder.name}"):
            file = folder / name
            if not file.is_file() or file_sha256(file) != noted[name]:
                return f"{name!r} differs from {MANIFEST}"
    except OSError as error:
        return f"{error.strerror}: {error.filename}"
    except ValueError:
        return f"{MANIFEST!r} is not what was written"
    return None
