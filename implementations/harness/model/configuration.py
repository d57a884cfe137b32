"""The configuration of a model folder, read as data: no code from the folder runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import transformers
from transformers import GenerationConfig, PreTrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from implementations.harness.errors import BadInput
from implementations.harness.model.families import FAMILIES
from implementations.harness.model.foreign import refused
from implementations.harness.results.reading import read_json

SHAPES = "pruned_shapes"  # in the configuration of a checkpoint that needs modeling_pruned.py
UNSUPPORTED = {
    "quantization_config": "the weights are quantised; load them in full precision instead",
    "per_layer_config": "it is not supported; configure all blocks at once",
}
KERNELS = ("attn_implementation", "_attn_implementation")


def configuration(folder: Path) -> PreTrainedConfig:
    """Return the configuration of a folder.

    Raises `BadInput` for a missing or damaged file and for a model that is not supported.
    """
    path = folder / "config.json"
    if not folder.is_dir():
        raise BadInput(f"there is no folder {folder}")
    if not path.exists():
        raise BadInput(f"{folder} is no model folder: config.json is missing")
    entries = read_json(path)
    if not isinstance(entries, dict) or not isinstance(entries.get("model_type"), str):
        raise BadInput(f"{path} does not say the model_type")
    _check_supported(entries, path)
    kind = stock_class(entries["model_type"]).config_class
    with refused(f"{path} is not a configuration of {entries['model_type']}", "correct it"):
        config: PreTrainedConfig = kind.from_dict(entries)
    return config


def generation_settings(folder: Path) -> GenerationConfig:
    """Return how the model of a folder generates: generation_config.json, else the configuration.

    Raises `BadInput` when it is damaged.
    """
    path = folder / "generation_config.json"
    if not path.exists():
        return GenerationConfig.from_model_config(read_json(folder / "config.json"))
    with refused(f"{path} is damaged", "correct or delete it"):
        return GenerationConfig.from_dict(read_json(path))


def stock_class(model_type: str) -> Any:
    """Return the class of transformers for the model type of a supported family."""
    return getattr(transformers, MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[model_type])


def _check_supported(entries: dict[str, Any], path: Path) -> None:
    model_type = entries["model_type"]
    if model_type not in FAMILIES:
        inner = (entries.get("text_config") or {}).get("model_type")
        hint = (
            f"; of this multimodal model save the text part ({inner}) alone"
            if inner in FAMILIES
            else ""
        )
        raise BadInput(
            f"{path}: model family {model_type!r} is not supported; supported are "
            f"{', '.join(FAMILIES)}{hint}"
        )
    for name, reason in UNSUPPORTED.items():
        if entries.get(name):
            raise BadInput(f"{path} has {name}: {reason}")
    for name in KERNELS:  # any other name is code on the hub, which transformers would run
        if entries.get(name) not in (None, "eager", "sdpa"):
            raise BadInput(f"{path} asks for an {name} other than eager and sdpa; remove it")
