"""Save pruned models as checkpoints that transformers can load, and load checkpoints."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.utils import logging

from implementations.harness.errors import BadInput, in_short
from implementations.harness.model import modeling_pruned
from implementations.harness.model.card import model_card
from implementations.harness.model.configuration import (
    SHAPES,
    configuration,
    generation_settings,
    stock_class,
)
from implementations.harness.model.devices import parse_device, parse_dtype
from implementations.harness.model.library_errors import errors_as_bad_input
from implementations.harness.model.output_folder import atomic_folder, resolve_output_folder
from implementations.harness.model.surgery import refuse_emptied
from implementations.harness.model.units import residual_widths
from implementations.harness.model.view import Block, LanguageModel
from implementations.harness.model.weight_files import read_weights, weight_files

SHARD = "1GB"  # size of a weights file, which limits the memory used for saving


def save(model: LanguageModel, folder: str | Path, *, record: dict[str, Any] | None = None) -> None:
    """Write weights, configuration, tokenizer and a model card with the record to `folder`.

    If the stock configuration can express the shapes, a plain
    `AutoModelForCausalLM.from_pretrained` loads the folder. Otherwise `modeling_pruned.py` is saved
    with the weights and `trust_remote_code=True` is needed. The folder is written completely or not
    at all.

    Raises:
        BadInput: the folder is not empty, the model has no weights left, or a `PromptMethod` is
            active.
        Unavailable: the folder is not writable, the disk is full, or another process has filled
            the folder.
    """
    if model.prompt_method:
        raise BadInput(
            f"{model.prompt_method} does not change the weights, so there is nothing to save; load "
            "the dense model instead"
        )
    folder = resolve_output_folder(folder)
    refuse_emptied(model.blocks)
    twin = _empty_twin(model)
    custom = isinstance(twin, modeling_pruned.Pruned)
    code = Path(modeling_pruned.__file__) if custom else None
    with atomic_folder(folder) as partial, _quiet():
        twin.save_pretrained(partial, state_dict=model.hf.state_dict(), max_shard_size=SHARD)
        if model.hf.generation_config is not None:  # unchecked, because some contradict themselves
            model.hf.generation_config.to_json_file(partial / "generation_config.json")
        if model.tokenizer is not None:
            model.tokenizer.save_pretrained(partial)
        card = partial / "README.md"
        card.write_text(model_card(model, record, code), encoding="utf-8")
        for weights in partial.glob("*.safetensors"):
            shutil.copymode(card, weights)  # safetensors makes them readable for the owner only


def load_checkpoint(
    folder: str | Path,
    *,
    dtype: str | torch.dtype = "auto",
    device: str | torch.device = "cpu",
) -> PreTrainedModel:
    """Load a model folder, stock or written by `save`, in evaluation mode.

    Code in the folder is never run: `modeling_pruned.py` of this package is used, and transformers
    gets the configuration and the weights instead of the folder.

    Raises:
        BadInput: the folder is incomplete, a file is damaged, the model is not supported, or its
            weights do not match the configuration.
    """
    folder = Path(folder)
    config, place = configuration(folder), parse_device(device)
    builder = stock_class(config.model_type)
    if hasattr(config, SHAPES):
        builder = modeling_pruned.pruned_class(builder)
    weights = read_weights(weight_files(folder))
    problem = f"the model in {folder} cannot be loaded"
    with _quiet(), errors_as_bad_input(problem, "download it again"):
        hf, report = builder.from_pretrained(
            None,  # transformers would search a folder for adapters and other weights
            config=config,
            state_dict=weights,
            generation_config=generation_settings(folder),
            dtype=dtype if dtype == "auto" else parse_dtype(dtype),
            ignore_mismatched_sizes=True,  # they are reported below
            output_loading_info=True,
        )
    _check_loaded(folder, report)
    hf.config.name_or_path = str(folder)
    loaded: PreTrainedModel = hf.to(place).eval()
    return loaded


def _check_loaded(folder: Path, report: dict[str, Any]) -> None:
    """Raise `BadInput` for weights that transformers has ignored or initialised at random."""
    mismatched = [
        f"{name} of {list(stored)} instead of {list(expected)}"
        for name, stored, expected in report["mismatched_keys"]
    ]
    problems = [
        f"{len(names):,} {kind}, such as {in_short(min(names), 120)}"
        for kind, names in (
            ("are missing", report["missing_keys"]),
            ("are unexpected", report["unexpected_keys"]),
            ("have another shape", mismatched),
        )
        if names
    ]
    if problems or report["error_msgs"]:
        details = "; ".join([*problems, *report["error_msgs"]])
        raise BadInput(
            f"the weights in {folder} do not match its configuration: {details}. Take both from "
            "the same model"
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide the progress bars and log messages of transformers; problems are raised instead."""
    verbosity, shown = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if shown:
            logging.enable_progress_bar()


def _empty_twin(model: LanguageModel) -> PreTrainedModel:
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


def _pruned_twin(model: LanguageModel) -> PreTrainedModel:
    config = _changed(model.config, {SHAPES: [_shape(block) for block in model.blocks]})
    build = modeling_pruned.pruned_class(stock_class(config.model_type))
    twin: PreTrainedModel = build._from_config(config, dtype=model.dtype)
    return twin


def _shape(block: Block) -> dict[str, Any]:
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
    residual = residual_widths(block)
    return (
        shape
        | ({"indexed": indexed} if indexed else {})
        | ({"residual": list(residual)} if residual else {})
    )


def _uniform_numbers(model: LanguageModel) -> dict[str, int] | None:
    """Return the head and channel counts by their stock names, or None if blocks differ."""
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
