"""The weights files of a model folder: found, read as data, hashed."""

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
from implementations.harness.model.foreign import refused
from implementations.harness.progress import track
from implementations.harness.results.reading import read_json

# A single file or an index that names its shards, in the order in which transformers looks.
NAMES = ("model.safetensors", "pytorch_model.bin")


def weight_files(folder: Path) -> list[Path]:
    """Return the weights files of a folder in the layout of transformers.

    Raises `BadInput` naming what is missing or truncated.
    """
    files = _named_files(folder)
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise BadInput(
            f"{folder} lacks {len(missing)} of {len(files)} weights files: "
            f"{in_short(', '.join(missing))}; fetch them again"
        )
    for file in files:
        if file.suffix == ".safetensors":
            with (
                refused(f"{file} is truncated or damaged", "fetch it again"),
                safe_open(file, "pt"),
            ):
                pass  # compares the length of the file with its header
    return files


def read_weights(files: list[Path]) -> dict[str, Tensor]:
    """Return the tensors of weights files by name; their bytes are read when they are used.

    Raises `BadInput` for a damaged file and for a pickle that holds code.
    """
    weights: dict[str, Tensor] = {}
    for file in files:
        if file.suffix == ".safetensors":
            weights |= load_file(file)
            continue
        try:
            mmap = zipfile.is_zipfile(file)  # older files cannot be mapped
            weights |= torch.load(file, map_location="cpu", weights_only=True, mmap=mmap)
        except Exception as error:  # whose message says how to run the code after all
            raise BadInput(
                f"{file} holds no plain weights: it is damaged, or a pickle with code in it, which "
                "is never run; fetch it again, or have the model saved as safetensors"
            ) from error
    return weights


def weights_sha256(files: list[Path]) -> str:
    """Return the SHA-256 of a weights file, or of what `sha256sum` prints for several of them."""
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
            with refused(f"{index} does not say which file holds each weight", "fetch it again"):
                return [
                    folder / shard for shard in sorted(set(read_json(index)["weight_map"].values()))
                ]
    there = in_short(", ".join(sorted(path.name for path in folder.iterdir()))) or "nothing"
    raise BadInput(
        f"{folder} holds no weights: {' or '.join(NAMES)} is missing, or its .index.json with the "
        f"shards; there is {there}"
    )
