"""Hashes that identify a model: equal hashes mean equal results."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from implementations.harness.download.storage import file_sha256
from implementations.harness.results.reading import read_json

CONFIGURATION = ("config.json", "generation_config.json")
VOCABULARY = ("tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt")
TOKENIZER = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
ORIGIN = frozenset(
    {"transformers_version", "_name_or_path", "_model_name_or_path", "is_local", "local_files_only"}
)
"""Fields that describe the origin of a file and do not affect results."""


class Identity(NamedTuple):
    """Hashes of the files that determine a model's output for a text."""

    weights: str
    """SHA-256 of the weights files, or the revision on the hub."""
    configuration: str
    """SHA-256 of the configuration, independent of its formatting."""
    tokenizer: str | None
    """SHA-256 of the tokenizer's files, or None if there are none."""


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
