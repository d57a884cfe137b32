"""The weights files of a model folder: found, checked before loading, hashed, written."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from implementations.harness.download.storage import file_sha256
from implementations.harness.errors import BadInput, in_short
from implementations.harness.model.foreign import refused
from implementations.harness.model.view import LanguageModel
from implementations.harness.progress import track
from implementations.harness.results.reading import LARGEST, parse_json, read_json

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
            f"{folder} lacks {len(missing)} of {len(files)} weights files: "
            f"{in_short(', '.join(missing))}; fetch them again"
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
        if header_size > LARGEST:
            raise BadInput(f"{file} is damaged: its header has {header_size:,} bytes")
        try:
            header = parse_json(stream.read(header_size).decode(), "its header")
            ends = [e["data_offsets"][1] for name, e in header.items() if name != "__metadata__"]
            expected = 8 + header_size + max(ends, default=0)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise BadInput(f"{file} is damaged: its header cannot be read") from error
    if size != expected:
        raise BadInput(
            f"{file} is {'truncated' if size < expected else 'damaged'}: it has {size:,} bytes "
            f"and its header says {expected:,}; fetch it again"
        )


def read_weights(files: list[Path]) -> dict[str, Tensor]:
    """Return the tensors of weights files by name; their bytes are read when they are used.

    Raises `BadInput` for a damaged file, for what is no plain tensor, and for a name given twice.
    """
    weights: dict[str, Tensor] = {}
    for file in files:
        held = _read_safetensors(file) if file.suffix == ".safetensors" else _read_pickled(file)
        twice = held.keys() & weights.keys()
        if twice:
            raise BadInput(f"{file} holds {_shown(min(twice))}, which another file holds too")
        weights |= held
    return weights


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
    names = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir())
    there = in_short(", ".join(names)) or "nothing"
    raise BadInput(
        f"{folder} holds no weights: {' or '.join(NAMES)} is missing, or its .index.json with the "
        f"shards; there is {there}"
    )


def _shards(index: Path) -> list[str]:
    """Return the files that an index names, which lie beside it and are of its kind."""
    content = read_json(index)
    places = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(places, dict) or not places:
        raise BadInput(f"{index} is damaged: it should say which file holds each weight")
    kind = Path(index.name.removesuffix(".index.json")).suffix
    for name in places.values():
        good = isinstance(name, str) and name.endswith(kind) and len(name.encode()) < 256
        if not good or Path(name).name != name:
            raise BadInput(
                f"{index} is damaged: {_shown(name)} is no name of a {kind} file in its folder"
            )
    return sorted(set(places.values()))


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    with refused(f"{file} is damaged", "fetch it again"):
        return load_file(file)


def _read_pickled(file: Path) -> dict[str, Tensor]:
    """Read a file of `torch.save` as data; code in it is refused by torch, not run."""
    way_out = "fetch it again, or have the model saved as safetensors"
    try:
        zipped = zipfile.is_zipfile(file)
        if zipped and any(part.compress_type for part in zipfile.ZipFile(file).infolist()):
            raise BadInput(f"{file} is compressed; {way_out}")
        held = torch.load(file, map_location="cpu", weights_only=True, mmap=zipped)
    except BadInput:
        raise
    except Exception as error:  # whatever a damaged pickle makes torch stumble over
        # What torch says is how to run the code after all.
        raise BadInput(
            f"{file} holds no plain weights: it is damaged, or a pickle with code in it, which is "
            f"never run; {way_out}"
        ) from error
    if not isinstance(held, dict):
        raise BadInput(f"{file} holds a {type(held).__name__} in place of weights; {way_out}")
    for name, tensor in held.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor) or not _plain(tensor):
            raise BadInput(f"{file} holds {_shown(name)}, which is no plain weight; {way_out}")
    return dict(held)


def _plain(tensor: Tensor) -> bool:
    return tensor.layout is torch.strided and tensor.device.type == "cpu"


def _shown(name: object) -> str:
    return in_short(repr(name), 100)
