"""The weights files of a model folder: found, checked before loading, hashed, written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from implementations.harness.download.storage import file_sha256
from implementations.harness.errors import BadInput
from implementations.harness.model.view import LanguageModel
from implementations.harness.progress import track

# A single file or an index that names its shards, in the order in which transformers looks.
NAMES = ("model.safetensors", "pytorch_model.bin")
SHARD = 10**9  # bytes of one file, which are held in memory beside the model


def weight_files(folder: Path) -> list[Path]:
    """Return the weights files of a folder in the layout of transformers, all of them whole.

    Raises `BadInput` naming what is missing or truncated.
    """
    files = _named_files(folder)
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise BadInput(
            f"{folder} lacks {len(missing)} of {len(files)} weights files: {', '.join(missing)}; "
            "fetch them again"
        )
    for file in files:
        check_whole(file)
    return files


def check_whole(file: Path) -> None:
    """Raise `BadInput` unless a safetensors file is as long as its header says.

    Other formats pass: they are found out when they are read.
    """
    if file.suffix != ".safetensors":
        return
    size = file.stat().st_size
    with file.open("rb") as stream:
        start = stream.read(8)
        header_size = int.from_bytes(start, "little")  # [u64 length][JSON header][tensors]
        if len(start) < 8 or 8 + header_size > size:
            raise BadInput(f"{file} is truncated or no safetensors file; fetch it again")
        try:
            header = json.loads(stream.read(header_size))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name[0] != "_"]
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise BadInput(f"{file} is damaged: its header cannot be read") from error
    expected = 8 + header_size + max(ends, default=0)
    if size != expected:
        raise BadInput(
            f"{file} is {'truncated' if size < expected else 'damaged'}: it has {size:,} bytes "
            f"and its header says {expected:,}; fetch it again"
        )


def weights_sha256(files: list[Path]) -> str:
    """Return the SHA-256 of a weights file, or of what `sha256sum` prints for several of them."""
    hashes = [(file_sha256(file), file.name) for file in track(files, "hashing the weights")]
    if len(hashes) == 1:
        return hashes[0][0]
    lines = "".join(f"{digest}  {name}\n" for digest, name in hashes)
    return hashlib.sha256(lines.encode()).hexdigest()


def write_weights(model: LanguageModel, folder: Path, limit: int = SHARD) -> None:
    """Write the weights of `model` into `folder`, opening one block at a time.

    Beyond `limit` bytes there are several files and an index, as transformers has them.
    """
    files: list[Path] = []
    place: dict[str, int] = {}
    size = 0
    for tensors in _pieces(model, limit):
        files.append(folder / f".{len(files)}")  # a name says how many there are in the end
        save_file(tensors, files[-1], metadata={"format": "pt"})
        place |= dict.fromkeys(tensors, len(files) - 1)
        size += sum(tensor.nbytes for tensor in tensors.values())
    if len(files) == 1:
        files[0].rename(folder / NAMES[0])
        return
    names = [f"model-{i:05}-of-{len(files):05}.safetensors" for i in range(1, len(files) + 1)]
    for file, name in zip(files, names, strict=True):
        file.rename(folder / name)
    weight_map = {tensor: names[number] for tensor, number in sorted(place.items())}
    index = {"metadata": {"total_size": size}, "weight_map": weight_map}
    (folder / f"{NAMES[0]}.index.json").write_text(json.dumps(index, indent=2) + "\n")


def _pieces(model: LanguageModel, limit: int) -> Iterator[dict[str, Tensor]]:
    """Yield what a checkpoint holds in pieces of at most `limit` bytes, or of one block."""
    shard: dict[str, Tensor] = {}
    for part in _parts(model):
        # Copies, because the block they are of will be shut by the time they are written.
        copies = {name: t.detach().to("cpu", copy=True) for name, t in part.items()}
        both = shard | {name: tensor.contiguous() for name, tensor in copies.items()}
        if shard and sum(tensor.nbytes for tensor in both.values()) > limit:
            yield shard
            both = {name: both[name] for name in part}
        shard = both
    yield shard


def _parts(model: LanguageModel) -> Iterator[dict[str, Tensor]]:
    """Yield what lies outside the blocks, then block by block, by the names of a checkpoint."""
    saved = model.hf.state_dict(keep_vars=True)
    # Of tied tensors the first name is written; the others follow from the configuration.
    first = {id(saved[name]): name for name in reversed(saved)}
    yield {
        name: tensor
        for name, tensor in model.outside().items()
        if name in saved and first[id(tensor)] == name
    }
    layers = next(name for name, module in model.hf.named_modules() if module is model.layers)
    for block in model.visit():
        yield dict(block.module.state_dict(prefix=f"{layers}.{block.index}.", keep_vars=True))


def _named_files(folder: Path) -> list[Path]:
    for name in NAMES:
        if (folder / name).is_file():
            return [folder / name]
        index = folder / f"{name}.index.json"
        if index.is_file():
            return [folder / shard for shard in _shards(index)]
    there = ", ".join(sorted(path.name for path in folder.iterdir())) or "nothing"
    raise BadInput(
        f"{folder} holds no weights: {' or '.join(NAMES)} is missing, or its .index.json with the "
        f"shards; there is {there}"
    )


def _shards(index: Path) -> list[str]:
    try:
        return sorted(set(json.loads(index.read_text())["weight_map"].values()))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise BadInput(f"{index} is damaged: it should say which file holds each weight") from error
