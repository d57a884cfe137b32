"""Read model folders, stock or written by `saving.save_model`, without running code from them."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor
from transformers import GenerationConfig, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.utils import logging

from implementations.harness.errors import BadInput, in_short
from implementations.harness.model import modeling_pruned
from implementations.harness.model.execution import parse_device, parse_dtype
from implementations.harness.model.view import FAMILIES
from implementations.harness.progress import track
from implementations.harness.results.files import file_sha256
from implementations.harness.results.reading import read_json


def load_checkpoint(
    folder: str | Path,
    *,
    dtype: str | torch.dtype = "auto",
    device: str | torch.device = "cpu",
) -> PreTrainedModel:
    """Load a model folder, stock or written by `save_model`, in evaluation mode.

    Code in the folder is never run: `modeling_pruned.py` of this package is used, and transformers
    gets the configuration and the weights instead of the folder.

    Raises:
        BadInput: the folder is incomplete, a file is damaged, the model is not supported, or its
            weights do not match the configuration.
    """
    folder = Path(folder)
    config, place = configuration(folder), parse_device(device)
    builder = model_class(config)
    weights = read_weights(weight_files(folder))
    problem = f"the model in {folder} cannot be loaded"
    with quiet(), errors_as_bad_input(problem, "download it again"):
        hf, report = builder.from_pretrained(
            None,  # transformers would search a folder for adapters and other weights
            config=config,
            state_dict=weights,
            generation_config=generation_settings(folder),
            dtype=dtype if dtype == "auto" else parse_dtype(dtype),
            ignore_mismatched_sizes=True,  # they are reported below
            output_loading_info=True,
        )
    check_loaded(folder, report)
    hf.config.name_or_path = str(folder)
    head, embedding = hf.get_output_embeddings(), hf.get_input_embeddings()
    tied = head.weight is embedding.weight
    loaded: PreTrainedModel = hf.to(place).eval()
    if tied:  # `to` replaces parameters on devices that are not built into PyTorch
        head.weight = embedding.weight
    return loaded


def check_loaded(folder: Path, report: dict[str, Any]) -> None:
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
def quiet() -> Iterator[None]:
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


def model_class(config: PreTrainedConfig) -> Any:
    """Return the class that builds a model of a configuration, stock or with pruned shapes."""
    stock = stock_class(config.model_type)
    return modeling_pruned.pruned_class(stock) if hasattr(config, SHAPES) else stock


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


# A single file or an index of its shards, in the order in which transformers searches.
NAMES = ("model.safetensors", "pytorch_model.bin")


def weight_files(folder: Path) -> list[Path]:
    """Return the weights files of a folder in the layout of transformers.

    Raises `BadInput` for missing and truncated files.
    """
    files = _named_files(folder)
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise BadInput(
            f"{folder} lacks {len(missing)} of {len(files)} weights files: "
            f"{in_short(', '.join(missing))}; download them again"
        )
    for file in files:
        if file.suffix == ".safetensors":
            with (
                errors_as_bad_input(f"{file} is truncated or damaged", "download it again"),
                safe_open(file, "pt"),
            ):
                pass  # compares the length of the file with its header
    return files


def read_weights(files: list[Path]) -> dict[str, Tensor]:
    """Return the tensors of weights files by name, memory-mapped where possible.

    Raises `BadInput` for a damaged file and for a pickle with code.
    """
    weights: dict[str, Tensor] = {}
    for file in files:
        if file.suffix == ".safetensors":
            weights |= load_file(file)
            continue
        try:
            mmap = zipfile.is_zipfile(file)  # older files cannot be mapped
            weights |= torch.load(file, map_location="cpu", weights_only=True, mmap=mmap)
        except Exception as error:  # torch's message explains how to run the code
            raise BadInput(
                f"{file} is damaged, or a pickle with code, which is never run; download it again, "
                "or use a copy of the model in safetensors format"
            ) from error
    return weights


def weights_sha256(files: list[Path]) -> str:
    """Return the SHA-256 of one weights file, or of the output of `sha256sum` for several."""
    hashes = []
    for file in track(files, "hashing the weights"):
        state = file.stat()
        hashes.append((_sha256(file, state.st_size, state.st_mtime_ns), file.name))
    if len(hashes) == 1:
        return hashes[0][0]
    lines = "".join(f"{digest}  {name}\n" for digest, name in hashes)
    return hashlib.sha256(lines.encode()).hexdigest()


@lru_cache(maxsize=1024)
def _sha256(file: Path, size: int, changed: int) -> str:
    """Return the SHA-256 of a file; unchanged files are hashed only once per process."""
    return file_sha256(file)


def _named_files(folder: Path) -> list[Path]:
    for name in NAMES:
        if (folder / name).is_file():
            return [folder / name]
        index = folder / f"{name}.index.json"
        if index.is_file():
            problem = f"{index} does not list the file of each weight"
            with errors_as_bad_input(problem, "download it again"):
                return [
                    folder / shard for shard in sorted(set(read_json(index)["weight_map"].values()))
                ]
    present = in_short(", ".join(sorted(path.name for path in folder.iterdir()))) or "no files"
    raise BadInput(
        f"{folder} has no weights; it needs {' or '.join(NAMES)}, or its .index.json and the "
        f"shards, but it has {present}"
    )


@contextmanager
def errors_as_bad_input(problem: str, advice: str) -> Iterator[None]:
    """Raise `BadInput` with `problem`, the reason and `advice` for any error inside."""
    try:
        yield
    except BadInput:
        raise
    except Exception as error:  # transformers and tokenizers raise many unrelated types
        raise BadInput(f"{problem}: {type(error).__name__}: {in_short(error)}; {advice}") from error
