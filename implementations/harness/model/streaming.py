"""Models larger than memory: blocks are read from disk when they are opened, and written back.

    model = open_streamed("my-model")
    with model.writing(work):            # folder for the edited blocks, on the disk of "pruned"
        method.apply(model, calibration)
    save_streamed(model, "pruned")

All parameters of a closed block are on the meta device. Embedding, head and final norm stay in
memory. Each edited block becomes `block-NNNNN.safetensors`, in the layout of a checkpoint, and a
saved model consists of these files.
"""

from __future__ import annotations

import json
import shutil
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights  # type: ignore[import-untyped]
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from implementations.harness.errors import BadInput, in_short
from implementations.harness.model.checkpoint import (
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
    atomic_folder,
    empty_twin,
    resolve_output_folder,
    write_beside_weights,
)
from implementations.harness.model.view import FAMILIES, Block, LanguageModel, family_of
from implementations.harness.progress import track
from implementations.harness.results.files import disk_errors_explained


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
        not noticed.
        """
        module = block.module
        if self._open is module:  # by a caller
            yield block
            return
        self._fill(module)
        self._open, before = module, _versions(module)
        try:
            yield block
            if self.work is not None and (walked or _changed(module, before)):
                self._write(block, self.work)
        finally:
            self._open = None
            for owner, name, parameter in _parameters(module):
                nothing = torch.empty_like(parameter, device="meta")
                owner._parameters[name] = nn.Parameter(nothing, parameter.requires_grad)

    @contextmanager
    def writing(self, work: Path) -> Iterator[None]:
        """Write the blocks that are edited inside the `with` block to the folder `work`."""
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

    def _write(self, block: Block, work: Path) -> None:
        """Write the open block, under its number in the source."""
        prefix = self.sources[block.module]
        file = work / block_file(int(prefix.rstrip(".").rpartition(".")[2]))
        state = {f"{prefix}{name}": t.contiguous() for name, t in block.module.state_dict().items()}
        with disk_errors_explained(work, "Free some space and repeat the command."):
            save_file(state, file, {"format": "pt"})
        self.finished[block.module] = file


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


def block_file(number: int) -> str:
    """Return the name of the file of a block."""
    return f"block-{number:05d}.safetensors"


def save_streamed(
    model: StreamedModel,
    folder: str | Path,
    *,
    record: dict[str, Any] | None = None,
    check: Callable[[Path], None] | None = None,
) -> None:
    """Write a checkpoint as `save_model` does; the files of edited blocks are moved into it."""
    twin = empty_twin(model)
    target = resolve_output_folder(folder)
    with atomic_folder(target) as made, quiet():
        outside = {n: t for n, t in model.hf.state_dict().items() if not t.is_meta}
        twin.save_pretrained(made, state_dict=outside)
        (made / "model.safetensors").rename(made / "outside.safetensors")
        files = dict.fromkeys(_names([made / "outside.safetensors"]), "outside.safetensors")
        for block in track(model.blocks, "writing the blocks"):
            file, start = made / block_file(block.index), f"{blocks_of(model.hf)}{block.index}."
            edited = model.finished.get(block.module)
            if edited is not None and start == model.sources[block.module]:
                shutil.move(edited, file)
                model.finished[block.module] = target / file.name
            else:  # as in the source, or with another number, because a block before it was removed
                tensors = model.tensors_of(block.module)
                state = {f"{start}{key}": tensor.contiguous() for key, tensor in tensors.items()}
                save_file(state, file, {"format": "pt"})
            files |= dict.fromkeys(_names([file]), file.name)
        total = sum(_data_bytes(made / name) for name in set(files.values()))
        index = {"metadata": {"total_size": total}, "weight_map": files}
        (made / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))
        write_beside_weights(model, twin, made, record)
        if check is not None:
            check(made)


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
