"""Read the configuration of a model folder without running code from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import transformers
from transformers import GenerationConfig, PreTrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from implementations.harness.errors import BadInput
from implementations.harness.model.families import FAMILIES
from implementations.harness.model.library_errors import errors_as_bad_input
from implementations.harness.results.reading import read_json

SHAPES = "pruned_shapes"  # field of checkpoints that need modeling_pruned.py
UNSUPPORTED = {
    "quantization_config": "quantised weights are not supported; use full-precision weights",
    "per_layer_config": "it is not supported; configure all blocks together",
}
KERNELS = ("attn_implementation", "_attn_implementation")


def configuration(folder: Path) -> PreTrainedConfig:
    """Return the configuration of a model folder.

    Raises `BadInput` for a missing or damaged file and for a model that is not supported.
    """
    path = folder / "config.json"
    if not folder.is_dir():
        raise BadInput(f"{folder} does not exist or is not a folder; give a model folder")
    if not path.exists():
        raise BadInput(f"{folder} is not a model folder: config.json is missing")
    entries = read_json(path)
    if not isinstance(entries, dict) or not isinstance(entries.get("model_type"), str):
        raise BadInput(f"{path} has no `model_type`; add it or download the file again")
    _check_supported(entries, path)
    kind = stock_class(entries["model_type"]).config_class
    problem = f"{path} is not a valid configuration of {entries['model_type']}"
    with errors_as_bad_input(problem, "correct it"):
        config: PreTrainedConfig = kind.from_dict(entries)
    return config


def generation_settings(folder: Path) -> GenerationConfig:
    """Return the generation settings: generation_config.json, or else those in config.json.

    Raises `BadInput` for a damaged file.
    """
    path = folder / "generation_config.json"
    if not path.exists():
        return GenerationConfig.from_model_config(read_json(folder / "config.json"))
    with errors_as_bad_input(f"{path} is damaged", "correct or delete it"):
        return GenerationConfig.from_dict(read_json(path))


def stock_class(model_type: str) -> Any:
    """Return the transformers class for the model type of a supported family."""
    return getattr(transformers, MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[model_type])


def _check_supported(entries: dict[str, Any], path: Path) -> None:
    model_type = entries["model_type"]
    if model_type not in FAMILIES:
        inner = (entries.get("text_config") or {}).get("model_type")
        hint = (
            f"; for this multimodal model, save only the text part ({inner})"
            if inner in FAMILIES
            else ""
        )
        raise BadInput(
            f"{path}: model family {model_type!r} is not supported; use one of "
            f"{', '.join(FAMILIES)}{hint}"
        )
    for name, reason in UNSUPPORTED.items():
        if entries.get(name):
            raise BadInput(f"{path} has {name}: {reason}")
    for name in KERNELS:  # any other name is code on the hub, which transformers would run
        if entries.get(name) not in (None, "eager", "sdpa"):
            raise BadInput(f"{path}: `{name}` must be eager or sdpa, got {entries[name]!r}")
