"""Find, read and hash the weights files of a model folder."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from implementations.harness.download.storage import file_sha256
from implementations.harness.errors import BadInput, in_short
from implementations.harness.model.library_errors import errors_as_bad_input
from implementations.harness.progress import track
from implementations.harness.results.reading import read_json

# A single file or an index of its shards, in the order in which transformers searches.
NAMES = ("model.safetensors", "pytorch_model.bin")


def weight_files(folder: Path) -> list[Path]:
    """Return the weights files of a folder in the layout of transformers.

    Raises `BadInput` for missing and truncated files.
    """
    files = _named_files(folder)
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise BadInput(
            f"{folder} lacks {len(missing)} of {len(files)} weights files: "
            f"{in_short(', '.join(missing))}; download them again"
        )
    for file in files:
        if file.suffix == ".safetensors":
            with (
                errors_as_bad_input(f"{file} is truncated or damaged", "download it again"),
                safe_open(file, "pt"),
            ):
                pass  # compares the length of the file with its header
    return files


def read_weights(files: list[Path]) -> dict[str, Tensor]:
    """Return the tensors of weights files by name, memory-mapped where possible.

    Raises `BadInput` for a damaged file and for a pickle with code.
    """
    weights: dict[str, Tensor] = {}
    for file in files:
        if file.suffix == ".safetensors":
            weights |= load_file(file)
            continue
        try:
            mmap = zipfile.is_zipfile(file)  # older files cannot be mapped
            weights |= torch.load(file, map_location="cpu", weights_only=True, mmap=mmap)
        except Exception as error:  # torch's message explains how to run the code
            raise BadInput(
                f"{file} is damaged, or a pickle with code, which is never run; download it again, "
                "or use a copy of the model in safetensors format"
            ) from error
    return weights


def weights_sha256(files: list[Path]) -> str:
    """Return the SHA-256 of one weights file, or of the output of `sha256sum` for several."""
    hashes = [(file_sha256(file), file.name) for file in track(files, "hashing the weights")]
    if len(hashes) == 1:
        return hashes[0][0]
    lines = "".join(f"{digest}  {name}\n" for digest, name in hashes)
    return hashlib.sha256(lines.encode()).hexdigest()


def _named_files(folder: Path) -> list[Path]:
    for name in NAMES:
        if (folder / name).is_file():
            return [folder / name]
        index = folder / f"{name}.index.json"
        if index.is_file():
            problem = f"{index} does not list the file of each weight"
            with errors_as_bad_input(problem, "download it again"):
                return [
                    folder / shard for shard in sorted(set(read_json(index)["weight_map"].values()))
                ]
    present = in_short(", ".join(sorted(path.name for path in folder.iterdir()))) or "no files"
    raise BadInput(
        f"{folder} has no weights; it needs {' or '.join(NAMES)}, or its .index.json and the "
        f"shards, but it has {present}"
    )
