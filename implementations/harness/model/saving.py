"""Save pruned models as checkpoints that transformers can load, completely or not at all."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from implementations.harness.errors import BadInput
from implementations.harness.model import modeling_pruned
from implementations.harness.model.card import model_card
from implementations.harness.model.checkpoint import SHAPES, model_class, quiet
from implementations.harness.model.units import refuse_emptied, residual_widths, rotations
from implementations.harness.model.view import Block, LanguageModel
from implementations.harness.results.files import (
    check_writable,
    disk_errors_explained,
    locked,
    partial_folder,
    resolve,
    short_path,
)

SHARD = "1GB"  # size of a weights file, which limits the memory used for saving


def save_model(
    model: LanguageModel,
    folder: str | Path,
    *,
    record: dict[str, Any] | None = None,
    check: Callable[[Path], None] | None = None,
) -> None:
    """Write weights, configuration, tokenizer and a model card with the record to `folder`.

    If the stock configuration can express the shapes, a plain
    `AutoModelForCausalLM.from_pretrained` loads the folder. Otherwise `modeling_pruned.py` is saved
    with the weights and `trust_remote_code=True` is needed. The folder is written completely or not
    at all, and not at all if `check`, which gets the complete folder under another name, raises.

    Raises:
        BadInput: the folder is not empty, the model has no weights left, or a method that acts
            while the model runs is active.
        Unavailable: the folder is not writable, the disk is full, or another process has filled
            the folder.
    """
    if model.active_method:
        raise BadInput(
            f"{model.active_method} acts only while the model runs, and a saved model would lose "
            "it; save outside of its `with` block, or load the dense model instead"
        )
    folder = resolve_output_folder(folder)
    refuse_emptied(model.blocks)
    twin = empty_twin(model)
    with atomic_folder(folder) as partial, quiet():
        twin.save_pretrained(partial, state_dict=model.hf.state_dict(), max_shard_size=SHARD)
        write_beside_weights(model, twin, partial, record)
        if check is not None:
            check(partial)


def write_beside_weights(
    model: LanguageModel, twin: PreTrainedModel, folder: Path, record: dict[str, Any] | None
) -> None:
    """Write generation settings, tokenizer and model card, and make the weights readable."""
    if model.hf.generation_config is not None:  # unchecked, because some contradict themselves
        model.hf.generation_config.to_json_file(folder / "generation_config.json")
    if model.tokenizer is not None:
        model.tokenizer.save_pretrained(folder)
    custom = isinstance(twin, modeling_pruned.Pruned)
    code = Path(modeling_pruned.__file__) if custom else None
    card = folder / "README.md"
    card.write_text(model_card(model, record, code), encoding="utf-8")
    for weights in folder.glob("*.safetensors"):
        shutil.copymode(card, weights)  # safetensors makes them readable for the owner only


def empty_twin(model: LanguageModel) -> PreTrainedModel:
    """Return a model on the meta device, built from a configuration, with the shapes of `model`.

    The stock configuration is tried first, because each family has its own conditions.
    """
    shapes = _shapes(model.hf)
    for make in (_stock_twin, _pruned_twin):
        try:
            with torch.device("meta"):
                twin = make(model)
        except (ValueError, StrictDataclassError):  # the configuration rejects the numbers
            continue
        if twin is not None and _shapes(twin) == shapes:
            return twin
    raise BadInput(
        "the model has shapes that no checkpoint can express; remove units and add biases only "
        "with the functions of `implementations.harness`"
    )


def _shapes(hf: PreTrainedModel) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in hf.state_dict().items()}


def _stock_twin(model: LanguageModel) -> PreTrainedModel | None:
    numbers = _uniform_numbers(model)
    if numbers is None:
        return None
    config = _changed(model.config, numbers)
    twin: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=model.dtype)
    return twin


def _pruned_twin(model: LanguageModel) -> PreTrainedModel | None:
    if model.family.experts:  # all blocks of a mixture have the same number of experts
        return None
    config = _changed(model.config, {SHAPES: [block_shape(block) for block in model.blocks]})
    twin: PreTrainedModel = model_class(config)._from_config(config, dtype=model.dtype)
    return twin


def block_shape(block: Block) -> dict[str, Any]:
    """Return the entry of `pruned_shapes` that describes a block."""
    linears = {
        path.rpartition(".")[2]: module
        for path, module in block.module.named_modules()
        if isinstance(module, nn.Linear)
    }
    shape = {
        "heads": block.attention.heads,
        "kv_heads": block.attention.kv_heads,
        "channels": block.feed_forward.channels,
        "biases": [name for name, linear in linears.items() if linear.bias is not None],
    }
    indexed = {
        name: {
            index: len(held)
            for dim, index in enumerate(modeling_pruned.INDICES)
            if (held := modeling_pruned.held_indices(linear, dim)) is not None
        }
        for name, linear in linears.items()
    }
    indexed = {name: counts for name, counts in indexed.items() if counts}
    residual, around = residual_widths(block), rotations(block)
    return (
        shape
        | ({"indexed": indexed} if indexed else {})
        | ({"residual": list(residual)} if residual else {})
        | ({"rotations": around} if around else {})
    )


def _uniform_numbers(model: LanguageModel) -> dict[str, int] | None:
    """Return the head and channel counts by their stock names, or None if blocks differ.

    Mixtures keep those of their configuration, which has the number of experts as well.
    """
    if model.family.experts:
        return {}
    counts = {
        (
            block.attention.heads,
            block.attention.kv_heads,
            block.attention.head_size,
            block.feed_forward.channels,
        )
        for block in model.blocks
    }
    if len(counts) > 1:
        return None
    heads, kv_heads, head_size, channels = counts.pop()
    if not heads or not channels:
        return None
    numbers = {
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        model.family.channels: channels,
        "head_dim": head_size,
    }
    named = {name: number for name, number in numbers.items() if hasattr(model.config, name)}
    if head_size * heads != model.config.hidden_size:
        named["head_dim"] = head_size  # Qwen2 uses it without declaring it
    return named


def _changed(config: PreTrainedConfig, numbers: dict[str, Any]) -> PreTrainedConfig:
    """Return a validated copy of a configuration with other numbers."""
    entries = copy.deepcopy(config.to_dict())
    for name in (SHAPES, "auto_map", "architectures"):
        entries.pop(name, None)
    return type(config).from_dict(entries | numbers)


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
    advice = "Choose another folder or free some space."
    with (
        disk_errors_explained(folder, advice),
        locked(folder),
        partial_folder(folder) as partial,
    ):
        made = partial / "model"
        made.mkdir()
        yield made
        if folder.is_dir():
            folder.rmdir()  # empty; some systems cannot rename onto a folder
        made.rename(folder)
