"""Saving what a method produced as a folder that others can use, and loading it back."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.utils import logging

from implementations.harness.errors import BadInput
from implementations.harness.model import modeling_pruned
from implementations.harness.model.card import model_card
from implementations.harness.model.devices import device_named, dtype_named
from implementations.harness.model.families import FAMILIES
from implementations.harness.model.output_folder import free_folder, published
from implementations.harness.model.surgery import refuse_emptied
from implementations.harness.model.view import LanguageModel
from implementations.harness.model.weight_files import weight_files, write_weights

SHAPES = "pruned_shapes"  # in the configuration of a checkpoint that needs modeling_pruned.py


def save(model: LanguageModel, folder: str | Path, *, record: dict[str, Any] | None = None) -> None:
    """Write weights, configuration, tokenizer and a model card with the record into `folder`.

    Where a stock configuration can express the shapes, the folder loads with a plain
    `AutoModelForCausalLM.from_pretrained`; otherwise `modeling_pruned.py` is put beside the
    weights and `trust_remote_code=True` is needed. The folder appears complete or not at all; a
    process that is killed leaves a `.<name>.partial-*` beside it, which the next save removes.

    Raises:
        BadInput: the folder is not empty, or the model is, or its tokenizer cannot be written.
        Unavailable: the folder cannot be written, the disk is full, or another process has come
            first.
    """
    folder = free_folder(folder)
    refuse_emptied(model.blocks)
    twin = _empty_twin(model)
    custom = isinstance(twin, modeling_pruned.Pruned)
    code = Path(modeling_pruned.__file__) if custom else None
    with published(folder) as partial, without_bars():
        twin.save_pretrained(partial, state_dict={})  # the configuration, and the code if needed
        write_weights(model, partial)
        if model.hf.generation_config is not None:  # as it came, even if it contradicts itself
            model.hf.generation_config.to_json_file(partial / "generation_config.json")
        _write_tokenizer(model, partial)
        card = partial / "README.md"
        card.write_text(model_card(model, record, code), encoding="utf-8")
        for weights in partial.glob("*.safetensors"):
            shutil.copymode(card, weights)  # safetensors keeps them from everybody else


def load_checkpoint(
    folder: str | Path,
    *,
    dtype: str | torch.dtype = "auto",
    device: str | torch.device = "cpu",
) -> PreTrainedModel:
    """Load a model folder, stock or written by `save`, in evaluation mode.

    Code in the folder is never run: checkpoints of ours are built by the file of this package.
    `dtype="auto"` is that of the weights. Raises `BadInput` for a folder that is not complete and
    for weights that do not fit the configuration.
    """
    folder = Path(folder)
    config = read_config(folder)
    weight_files(folder)
    builder: Any = AutoModelForCausalLM
    if SHAPES in config:
        builder = modeling_pruned.pruned_class(_stock_class(config["model_type"]))
    place = device_named(device)
    wanted = "auto" if dtype == "auto" else dtype_named(dtype)
    with without_bars():
        try:
            hf, report = builder.from_pretrained(
                folder, dtype=wanted, output_loading_info=True, local_files_only=True
            )
        except (OSError, RuntimeError, ValueError, SafetensorError) as error:
            raise BadInput(f"the model in {folder} cannot be loaded: {error}") from error
    absent = sorted(report["missing_keys"])
    if absent:  # transformers would go on with random numbers
        raise BadInput(
            f"the weights in {folder} do not fit its configuration: {len(absent)} are missing, "
            f"such as {absent[0]}"
        )
    loaded: PreTrainedModel = hf.to(place).eval()
    return loaded


def read_config(folder: Path) -> dict[str, Any]:
    """Return config.json as a dictionary; raises `BadInput` when it is missing or unreadable."""
    if not folder.is_dir():
        raise BadInput(f"there is no folder {folder}")
    path = folder / "config.json"
    if not path.is_file():
        raise BadInput(f"{folder} is no model folder: config.json is missing")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BadInput(f"{path} is damaged: {error}") from error
    if not isinstance(config, dict) or "model_type" not in config:
        raise BadInput(f"{path} does not say the model_type")
    return config


@contextmanager
def without_bars() -> Iterator[None]:
    """Hide the progress bars that transformers draws by itself inside the `with` block."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _write_tokenizer(model: LanguageModel, folder: Path) -> None:
    if model.tokenizer is None:
        return
    try:
        model.tokenizer.save_pretrained(folder)
    except Exception as error:  # the tokenizers library raises bare ones
        if isinstance(error, OSError) or "os error" in str(error):  # the disk, told of elsewhere
            raise
        raise BadInput(f"the tokenizer of {model.name} cannot be written: {error}") from error


def _empty_twin(model: LanguageModel) -> PreTrainedModel:
    """Return a model without data that a configuration alone builds in exactly the live shapes.

    Whether the stock configuration can is found out by trying, because each family has conditions
    of its own.
    """
    shapes = _shapes(model.hf)
    for make in (_stock_twin, _pruned_twin):
        try:
            with torch.device("meta"):
                twin = make(model)
        except (ValueError, StrictDataclassError):  # the configuration refuses the numbers
            continue
        if twin is not None and _shapes(twin) == shapes:
            return twin
    raise BadInput(
        "this model has other shapes than removing KV groups, channels and blocks or adding biases "
        "gives, and no checkpoint can express them"
    )


def _stock_class(model_type: str) -> type:
    if model_type not in FAMILIES:
        raise BadInput(f"blocks of different widths are not known for {model_type!r}")
    stock: type = getattr(transformers, MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[model_type])
    return stock


def _shapes(hf: PreTrainedModel) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in hf.state_dict().items()}


def _stock_twin(model: LanguageModel) -> PreTrainedModel | None:
    numbers = _uniform_numbers(model)
    if numbers is None:
        return None
    config = _changed(model.config, numbers)
    twin: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=model.dtype)
    return twin


def _pruned_twin(model: LanguageModel) -> PreTrainedModel:
    shapes = [
        {
            "heads": block.attention.heads,
            "kv_heads": block.attention.kv_heads,
            "channels": block.feed_forward.channels,
            "biases": [
                path.rpartition(".")[2]
                for path, module in block.module.named_modules()
                if isinstance(module, nn.Linear) and module.bias is not None
            ],
        }
        for block in model.blocks
    ]
    config = _changed(model.config, {SHAPES: shapes})
    build = modeling_pruned.pruned_class(_stock_class(config.model_type))
    twin: PreTrainedModel = build._from_config(config, dtype=model.dtype)
    return twin


def _uniform_numbers(model: LanguageModel) -> dict[str, int] | None:
    """Return the live head and channel counts by their stock names, None where blocks differ."""
    found = {
        (
            block.attention.heads,
            block.attention.kv_heads,
            block.attention.head_size,
            block.feed_forward.channels,
        )
        for block in model.blocks
    }
    if len(found) > 1:
        return None
    heads, kv_heads, head_size, channels = found.pop()
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
        named["head_dim"] = head_size  # Qwen2 reads it although it does not declare it
    return named


def _changed(config: PreTrainedConfig, numbers: dict[str, Any]) -> PreTrainedConfig:
    """Return a new configuration with other numbers, checked by its class."""
    entries = copy.deepcopy(config.to_dict())
    for name in (SHAPES, "auto_map", "architectures"):
        entries.pop(name, None)
    return type(config).from_dict(entries | numbers)
