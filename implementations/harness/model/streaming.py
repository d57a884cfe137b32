"""Models larger than memory: blocks are read from disk when they are opened, and written back.

    model = open_streamed("my-model")
    with model.writing(work):            # folder for finished blocks; a killed run continues in it
        method.apply(model, calibration)
    save_streamed(model, work, "pruned")

All parameters of a closed block are on the meta device. Embedding, head and final norm stay in
memory. Each edited block becomes `block-NNNNN.safetensors`, in the layout of a checkpoint, and a
saved model consists of these files.
"""

from __future__ import annotations

import json
import time
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights  # type: ignore[import-untyped]
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from implementations.harness.errors import BadInput, in_short
from implementations.harness.model.checkpoint import (
    SHAPES,
    check_loaded,
    configuration,
    errors_as_bad_input,
    generation_settings,
    model_class,
    quiet,
    weight_files,
)
from implementations.harness.model.execution import parse_device, parse_dtype
from implementations.harness.model.loading import load_tokenizer, locate
from implementations.harness.model.saving import (
    block_shape,
    check_output_folder,
    empty_twin,
    resolve_output_folder,
    write_beside_weights,
)
from implementations.harness.model.view import FAMILIES, Block, LanguageModel, family_of
from implementations.harness.progress import track
from implementations.harness.results.files import (
    disk_errors_explained,
    short_path,
    write_atomically,
)

REQUEST = "request.json"
FULL_DISK = "Free some space and repeat the command."


class StreamedModel(LanguageModel):
    """A model of which one decoder layer at a time is in memory."""

    def __init__(self, hf: PreTrainedModel, files: Mapping[str, Path], **options: Any) -> None:
        """View a model on the meta device; `files` has the weights file of each tensor.

        The other options are those of `LanguageModel`.
        """
        super().__init__(hf, **options)
        self.files = files
        # The prefix of the names of each block's tensors in the source.
        self.sources = {block.module: f"{blocks_of(hf)}{block.index}." for block in self.blocks}
        self.finished: dict[nn.Module, Path] = {}
        """The file of each block that was edited."""
        self.work: Path | None = None
        """Folder of the edited blocks while the model is edited."""
        self._open: nn.Module | None = None

    @property
    def whole(self) -> bool:
        """Return False, because only the open block is in memory."""
        return False

    @contextmanager
    def opened(self, block: Block, *, walked: bool = False) -> Iterator[Block]:
        """Read a block for the `with` block; if it was edited, write it at the end, and free it.

        A block of a walk with edits counts as edited. Elsewhere, edits through `tensor.data` are
        not noticed. Only blocks that a walk with edits has finished are used by a run that
        continues.
        """
        module = block.module
        if self._open is module:  # by a caller
            yield block
            return
        start = time.perf_counter()
        self._fill(module)
        self._open, before = module, _versions(module)
        try:
            yield block
            if self.work is not None and (walked or _changed(module, before)):
                self._write(block, self.work, time.perf_counter() - start if walked else None)
        finally:
            self._open = None
            for owner, name, parameter in _parameters(module):
                nothing = torch.empty_like(parameter, device="meta")
                owner._parameters[name] = nn.Parameter(nothing, parameter.requires_grad)

    def restored(self, block: Block) -> float | None:
        """Use the result of a walk of an earlier, killed run that finished the block.

        Returns the seconds that it took, or None without such a result. The random state is set to
        the one after that edit.
        """
        file = None if self.work is None else self._file(block, self.work)
        if file is None or not file.is_file():
            return None
        try:
            with safe_open(file, "pt") as content:
                metadata = content.metadata()
        except SafetensorError:  # incomplete
            return None
        if "seconds" not in metadata:  # edited outside a walk, or written while saving
            return None
        torch.set_rng_state(torch.tensor(json.loads(metadata["rng"]), dtype=torch.uint8))
        self._adopt_shape(block, json.loads(metadata["shape"]))
        self.finished[block.module] = file
        return float(json.loads(metadata["seconds"]))

    @contextmanager
    def writing(self, work: Path) -> Iterator[None]:
        """Write the blocks that are edited inside the `with` block to the folder `work`."""
        work.mkdir(parents=True, exist_ok=True)
        for leftover in work.glob("*.partial"):
            leftover.unlink()
        self.work = work
        try:
            yield
        finally:
            self.work = None

    def tensors_of(self, module: nn.Module) -> dict[str, Tensor]:
        """Read the tensors of a block, by their names inside it."""
        file = self.finished.get(module)
        names = {name: f"{self.sources[module]}{name}" for name in module.state_dict()}
        tensors = _read(names, self.files if file is None else dict.fromkeys(names.values(), file))
        return {
            name: tensor.to(self.dtype) if tensor.is_floating_point() else tensor
            for name, tensor in tensors.items()
        }

    def _fill(self, module: nn.Module) -> None:
        trainable = {name: p.requires_grad for name, p in module.named_parameters()}
        module.load_state_dict(self.tensors_of(module), assign=True)
        for name, parameter in module.named_parameters():
            parameter.requires_grad_(trainable[name])

    def _file(self, block: Block, work: Path) -> Path:
        number = int(self.sources[block.module].rstrip(".").rpartition(".")[2])
        return work / f"block-{number:05d}.safetensors"

    def _write(self, block: Block, work: Path, seconds: float | None) -> None:
        """Write the open block; the file has `seconds` if a walk with edits has finished it."""
        file, prefix = self._file(block, work), self.sources[block.module]
        shape = json.dumps(block_shape(block))
        rng = json.dumps(torch.get_rng_state().tolist())
        state = {f"{prefix}{name}": t.contiguous() for name, t in block.module.state_dict().items()}
        metadata = {"format": "pt", "shape": shape, "rng": rng}
        if seconds is not None:
            metadata["seconds"] = json.dumps(seconds)
        with disk_errors_explained(work, FULL_DISK):
            _write_file(file, state, metadata)
        self.finished[block.module] = file

    def _adopt_shape(self, block: Block, shape: dict[str, Any]) -> None:
        """Give the modules of a closed block the shapes of its file."""
        if shape == block_shape(block):
            return
        entries = self.config.to_dict()
        count = len(self.layers)
        config = type(self.config).from_dict(
            {key: value for key, value in entries.items() if key != "auto_map"}
            | {SHAPES: [shape] * count}
        )
        with init_empty_weights(include_buffers=False), quiet():
            twin = LanguageModel(model_class(config)._from_config(config, dtype=self.dtype))
        wanted = twin.blocks[block.index].module
        for path, module in wanted.named_children():
            block.module._modules[path] = module


def open_streamed(
    source: str,
    *,
    dtype: str = "float32",
    accelerator: str | torch.device | None = None,
    tokenizer: bool = True,
) -> StreamedModel:
    """Open a model folder or hub id without reading its blocks.

    Raises:
        BadInput: as `load_model`, or the weights are not safetensors as transformers writes them.
        Unavailable: the model cannot be downloaded.
    """
    wanted = parse_dtype(dtype)
    origin = locate(source)
    config = configuration(origin.folder)
    if FAMILIES[config.model_type].experts:
        raise BadInput(
            f"--stream does not support {FAMILIES[config.model_type].name}, because its files hold "
            "every expert on its own; leave it out"
        )
    files = _names(weight_files(origin.folder))
    loaded = load_tokenizer(origin.folder, config.vocab_size) if tokenizer else None
    problem = f"the model in {origin.folder} cannot be loaded"
    with (
        errors_as_bad_input(problem, "download it again"),
        init_empty_weights(include_buffers=False),
        quiet(),
    ):
        hf = model_class(config)._from_config(config, dtype=wanted)
    hf.config.name_or_path = str(origin.folder)
    hf.generation_config = generation_settings(origin.folder)
    tied = set(getattr(hf, "all_tied_weights_keys", None) or ())
    expected = {name for name in hf.state_dict() if name not in tied or name in files}
    missing = sorted(expected - files.keys())
    if missing:
        raise BadInput(
            f"the weights in {origin.folder} lack {len(missing)} tensors, such as "
            f"{in_short(missing[0], 120)}; load the model with transformers and save it again"
        )
    _check_shapes(origin.folder, hf, files)
    outside = {name: name for name in expected if not name.startswith(blocks_of(hf))}
    state = {name: tensor.to(wanted) for name, tensor in _read(outside, files).items()}
    hf.load_state_dict(state, strict=False, assign=True)
    hf.tie_weights()
    return StreamedModel(
        hf,
        files,
        tokenizer=loaded,
        name=origin.name,
        identity=origin.identity(),
        accelerator=None if accelerator is None else parse_device(accelerator),
    )


def _check_shapes(folder: Path, hf: PreTrainedModel, files: Mapping[str, Path]) -> None:
    """Raise `BadInput` if the files have other tensors or other shapes than the empty `hf`."""
    stored: dict[str, list[int]] = {}
    for file in set(files.values()):
        with safe_open(file, "pt") as content:
            names = content.keys()
            stored |= {name: content.get_slice(name).get_shape() for name in names}
    own = {name: list(tensor.shape) for name, tensor in hf.state_dict().items()}
    check_loaded(
        folder,
        {
            "missing_keys": [],
            # Old checkpoints have the buffers `inv_freq`, which transformers ignores, too.
            "unexpected_keys": [
                name for name in stored.keys() - own.keys() if "rotary_emb.inv_freq" not in name
            ],
            "mismatched_keys": [
                (name, stored[name], shape)
                for name, shape in own.items()
                if stored.get(name, shape) != shape
            ],
            "error_msgs": [],
        },
    )


def blocks_of(hf: PreTrainedModel) -> str:
    """Return the beginning of the names of all tensors of the blocks, such as `model.layers.`."""
    return f"{hf.base_model_prefix}.{family_of(hf).blocks}."


def work_folder(folder: Path) -> Path:
    """Return the folder for the finished blocks of a model that will be saved to `folder`."""
    return folder.with_name(f".{folder.name}.streamed")


def check_request(work: Path, request: str) -> None:
    """Note the request in the folder of finished blocks, or check that it is the same.

    Raises `BadInput` if the folder has finished blocks of another request.
    """
    file = work / REQUEST
    if finished_files(work) and not (file.is_file() and file.read_text("utf-8") == request):
        raise BadInput(
            f"{short_path(work)} holds the finished blocks of a different run with the same output "
            "folder; repeat that run with the same package versions, save to another folder, or "
            "remove it"
        )
    write_atomically(file, request)


def finished_files(work: Path) -> list[Path]:
    """Return the files of finished blocks."""
    return list(work.glob("block-*.safetensors"))


def save_streamed(
    model: StreamedModel, work: Path, folder: str | Path, *, record: dict[str, Any] | None = None
) -> None:
    """Complete `work` to a checkpoint, block by block, and rename it to `folder`.

    Raises as `saving.save_model`.
    """
    check_output_folder(folder)
    target = resolve_output_folder(folder)
    twin = empty_twin(model)
    with disk_errors_explained(work, FULL_DISK), quiet():
        outside = {n: t for n, t in model.hf.state_dict().items() if not t.is_meta}
        twin.save_pretrained(work, state_dict=outside)
        (work / "model.safetensors").rename(work / "outside.safetensors")
        files = dict.fromkeys(_names([work / "outside.safetensors"]), "outside.safetensors")
        for block in track(model.blocks, "writing the blocks"):
            name, start = (
                f"block-{block.index:05d}.safetensors",
                f"{blocks_of(model.hf)}{block.index}.",
            )
            own = model.finished.get(block.module)
            if own is None or own.name != name or start != model.sources[block.module]:
                tensors = model.tensors_of(block.module)
                state = {f"{start}{key}": tensor.contiguous() for key, tensor in tensors.items()}
                _write_file(work / name, state, {"format": "pt"})
            files |= dict.fromkeys(_names([work / name]), name)
        used = set(files.values())
        total = sum(_data_bytes(work / file) for file in used)
        for file in finished_files(work):
            if file.name not in used:
                file.unlink()
        index = {"metadata": {"total_size": total}, "weight_map": files}
        (work / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))
        write_beside_weights(model, twin, work, record)
        (work / REQUEST).unlink(missing_ok=True)
        if target.is_dir():
            target.rmdir()
        work.rename(target)


def _data_bytes(file: Path) -> int:
    """Return the size of all tensors in a safetensors file, which follow a header."""
    with file.open("rb") as content:
        header = int.from_bytes(content.read(8), "little")
    return file.stat().st_size - 8 - header


def _parameters(module: nn.Module) -> list[tuple[nn.Module, str, nn.Parameter]]:
    return [
        (owner, name, parameter)
        for owner in module.modules()
        for name, parameter in owner._parameters.items()
        if parameter is not None
    ]


Version = tuple["weakref.ref[Tensor]", int, int, torch.Size]


def _versions(module: nn.Module) -> list[Version]:
    """Return the parameters, without keeping them alive, and what changes if they are edited."""
    return [(weakref.ref(p), p._version, p.data_ptr(), p.shape) for _, _, p in _parameters(module)]


def _changed(module: nn.Module, before: list[Version]) -> bool:
    """Return whether a parameter was edited in place, replaced, added or removed."""
    now = _versions(module)
    return len(now) != len(before) or any(
        one[0] is not other[0] or one[1:] != other[1:]  # a parameter has one weak reference
        for one, other in zip(now, before, strict=True)
    )


def _names(files: list[Path]) -> dict[str, Path]:
    """Return the file of each tensor; raises `BadInput` unless all are safetensors."""
    found: dict[str, Path] = {}
    for file in files:
        if file.suffix != ".safetensors":
            raise BadInput(f"{file} is not in safetensors format, which --stream needs; convert it")
        with safe_open(file, "pt") as content:
            found |= dict.fromkeys(content.keys(), file)
    return found


def _read(names: Mapping[str, str], files: Mapping[str, Path]) -> dict[str, Tensor]:
    """Read tensors by key; `names` has their names in the files."""
    tensors: dict[str, Tensor] = {}
    by_file: dict[Path, list[str]] = {}
    for key, name in names.items():
        by_file.setdefault(files[name], []).append(key)
    for file, keys in by_file.items():
        with safe_open(file, "pt") as content:
            tensors |= {key: content.get_tensor(names[key]) for key in keys}
    return tensors


def _write_file(file: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write tensors under a temporary name, then rename."""
    partial = file.with_name(f"{file.name}.partial")
    save_file(tensors, partial, metadata)
    partial.replace(file)
