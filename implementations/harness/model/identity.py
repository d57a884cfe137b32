"""What a model folder holds, as hashes: equal ones give equal numbers."""

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
"""Fields that say where a file came from and decide no number."""


class Identity(NamedTuple):
    """Hashes of all that decides what a model computes and how text reaches it."""

    weights: str
    """SHA-256 of the weights files, or the revision of the hub."""
    configuration: str
    """SHA-256 of the configuration, in whatever layout it is written."""
    tokenizer: str | None
    """SHA-256 of the tokenizer's files; None where the folder has none."""


def identify(folder: Path, weights: str) -> Identity:
    """Hash configuration and tokenizer of a folder whose `weights` are hashed already.

    Raises `BadInput` for a damaged file.
    """
    tokenizer = [*_settings(folder, TOKENIZER), *_files(folder, VOCABULARY)]
    return Identity(
        weights,
        _digest(_settings(folder, CONFIGURATION)),
        _digest(tokenizer) if any(name in VOCABULARY for name, _ in tokenizer) else None,
    )


def _settings(folder: Path, names: Iterable[str]) -> list[tuple[str, str]]:
    """Of JSON the content, without what only says where it came from."""
    found = []
    for name in names:
        if (folder / name).is_file():
            content = read_json(folder / name)
            if isinstance(content, dict):
                content = {key: value for key, value in content.items() if key not in ORIGIN}
            found.append((name, json.dumps(content, sort_keys=True)))
    return found


def _files(folder: Path, names: Iterable[str]) -> list[tuple[str, str]]:
    return [(name, file_sha256(folder / name)) for name in names if (folder / name).is_file()]


def _digest(parts: list[tuple[str, str]]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
