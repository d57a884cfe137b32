"""Load a language model by name: the embedded model, a local folder or a hub id."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import torch
from huggingface_hub import constants
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from implementations.harness.download.embedded import MODEL, MODEL_ALIAS, embedded_model
from implementations.harness.download.hub import cached_file, hub_model
from implementations.harness.errors import BadInput, in_short
from implementations.harness.model.checkpoint import (
    configuration,
    errors_as_bad_input,
    load_checkpoint,
    weight_files,
    weights_sha256,
)
from implementations.harness.model.execution import parse_device, parse_dtype
from implementations.harness.model.view import Identity, LanguageModel
from implementations.harness.results.files import file_sha256, user_path
from implementations.harness.results.reading import read_json

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json")


class Origin(NamedTuple):
    """The local folder of a model, its name, and a function that hashes the folder."""

    folder: Path
    name: str
    identity: Callable[[], Identity]


def load_model(
    source: str | os.PathLike[str],
    *,
    dtype: str | torch.dtype = "float32",
    device: str | torch.device = "cpu",
    accelerator: str | torch.device | None = None,
    tokenizer: bool = True,
) -> LanguageModel:
    """Load `"smollm2-135m"` (embedded), a local folder or a hub id such as `org/name`.

    `device` holds the weights and may be "auto". `accelerator` computes, one block at a time; it
    defaults to the device. With `tokenizer=False` the folder needs no tokenizer.

    Raises:
        BadInput: the source, dtype, device, family, weights or tokenizer is invalid. This is
            checked before the weights are read.
        Unavailable: the model cannot be downloaded.
    """
    wanted, home = parse_dtype(dtype), parse_device(device)
    computing = home if accelerator is None else parse_device(accelerator)
    origin = locate(source)
    config = configuration(origin.folder)
    weight_files(origin.folder)
    loaded = load_tokenizer(origin.folder, config.vocab_size) if tokenizer else None
    return LanguageModel(
        load_checkpoint(origin.folder, dtype=wanted, device=home),
        loaded,
        name=origin.name,
        identity=origin.identity(),
        accelerator=computing,
    )


def locate(source: str | os.PathLike[str]) -> Origin:
    """Find the folder of a model, downloading the model if necessary.

    Raises `BadInput` for an invalid name and `Unavailable` if the download fails.
    """
    name = os.fspath(source)
    if name == MODEL_ALIAS:
        return _embedded()
    folder = user_path(name, "the model")
    if name and folder.is_dir():
        return Origin(folder, folder.resolve().name, lambda: _identity(folder))
    if name and folder.exists():
        raise BadInput(f"{name} is a file; give the folder with config.json and the weights")
    if not _is_hub_id(name):
        near = difflib.get_close_matches(name.lower(), [MODEL_ALIAS], cutoff=0.5)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise BadInput(
            f"unknown model {in_short(name, 100)!r}; use {MODEL_ALIAS!r}, an existing folder or a "
            f"hub id of the form ORG/NAME{hint}"
        )
    if folder.parent.is_dir():
        raise BadInput(
            f"{folder.parent} has no folder {in_short(folder.name, 100)}; correct the name, or "
            "work in another folder if it is a hub id"
        )
    folder = hub_folder(name)
    # The folder of a snapshot is named after its commit.
    return Origin(folder, name, lambda: identify(folder, weights=folder.name))


def load_tokenizer(folder: Path, vocabulary: int) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a folder whose model has `vocabulary` embeddings.

    Raises `BadInput` if it is missing, unreadable, or belongs to another model.
    """
    if not _has_tokenizer(folder):
        raise BadInput(
            f"{folder} has no tokenizer ({', '.join(TOKENIZER_FILES)}); copy it from the base "
            "model, or use tokenizer=False if you need only token ids"
        )
    problem = f"the tokenizer in {folder} cannot be read"
    with errors_as_bad_input(problem, "copy it from the base model again"):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    added = set(tokenizer.get_added_vocab().values())  # Gemma 3 has one without an embedding
    highest = max({*tokenizer.get_vocab().values()} - added, default=0)
    if highest >= vocabulary:
        raise BadInput(
            f"the tokenizer in {folder} belongs to another model: its ids go up to {highest}, but "
            f"the model has {vocabulary} embeddings; copy it from the base model"
        )
    return tokenizer


def hub_folder(name: str) -> Path:
    """Return the local snapshot of a hub model; what is not in the cache is downloaded.

    Raises `BadInput` if the hub has no such model and `Unavailable` if the download fails; an
    unreachable hub is reported within 10 seconds.
    """
    cached = cached_file(name, "config.json", "model")
    if cached is not None:
        try:
            weight_files(cached.parent)
        except BadInput:
            if constants.HF_HUB_OFFLINE:
                raise
        else:
            if constants.HF_HUB_OFFLINE or _has_tokenizer(cached.parent):
                return cached.parent
    return hub_model(name, _needed)


def _has_tokenizer(folder: Path) -> bool:
    return any((folder / name).is_file() for name in TOKENIZER_FILES)


def _is_hub_id(name: str) -> bool:
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return "/" in name


def _embedded() -> Origin:
    folder = embedded_model()

    def identity() -> Identity:
        weights = weights_sha256([folder / "model.safetensors"])
        # Configuration and tokenizer come from the GGUF file. The cached files depend on the
        # version of transformers that converted them.
        return Identity(weights, configuration=MODEL.sha256, tokenizer=MODEL.sha256)

    return Origin(folder, MODEL_ALIAS, identity)


def _identity(folder: Path) -> Identity:
    return identify(folder, weights_sha256(weight_files(folder)))


def _needed(files: list[str]) -> list[str]:
    """Return the files to download: configuration, tokenizer, and one kind of weights."""
    safe = any(re.fullmatch(r"model.*\.safetensors", file) for file in files)
    weights = r"model.*\.safetensors" if safe else r"pytorch_model.*\.bin"
    return [file for file in files if re.fullmatch(rf".*\.(json|txt|model|jinja)|{weights}", file)]


CONFIGURATION = ("config.json", "generation_config.json")
VOCABULARY = ("tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt")
TOKENIZER = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
ORIGIN = frozenset(
    {"transformers_version", "_name_or_path", "_model_name_or_path", "is_local", "local_files_only"}
)
"""Fields that describe the origin of a file and do not affect results."""


def identify(folder: Path, weights: str) -> Identity:
    """Hash the configuration and tokenizer of a folder; `weights` is the hash of the weights.

    Raises `BadInput` for a damaged file.
    """
    tokenizer = [*_settings(folder, TOKENIZER), *_files(folder, VOCABULARY)]
    return Identity(
        weights,
        _digest(_settings(folder, CONFIGURATION)),
        _digest(tokenizer) if any(name in VOCABULARY for name, _ in tokenizer) else None,
    )


def _settings(folder: Path, names: Iterable[str]) -> list[tuple[str, str]]:
    """Return the content of JSON files without the fields of `ORIGIN`."""
    settings = []
    for name in names:
        if (folder / name).is_file():
            content = read_json(folder / name)
            if isinstance(content, dict):
                content = {key: value for key, value in content.items() if key not in ORIGIN}
            settings.append((name, json.dumps(content, sort_keys=True)))
    return settings


def _files(folder: Path, names: Iterable[str]) -> list[tuple[str, str]]:
    return [(name, file_sha256(folder / name)) for name in names if (folder / name).is_file()]


def _digest(parts: list[tuple[str, str]]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
