"""Records of the schema before: their keys covered less, and are made anew from what they say.

What was measured stays as it is; the hashes that are missing are taken from the same model and
texts, which must still be there.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from implementations.harness.data.sources import documents_sha256
from implementations.harness.errors import BadInput
from implementations.harness.model.loading import locate
from implementations.harness.results.files import write_whole
from implementations.harness.results.part import problems
from implementations.harness.results.protocol import Protocol
from implementations.harness.results.reading import read_json
from implementations.harness.results.record import SCHEMA_VERSION, ModelInfo, Record, key_of

BEFORE = SCHEMA_VERSION - 1


def migrate(path: Path, model: str | None = None) -> bool:
    """Bring one record up to date in its place; return whether there was anything to do.

    `model` says where the model lies now, if not where it did.

    Raises:
        BadInput: no record of the schema before, or its model or texts are not what they were.
        Unavailable: the model cannot be had, or the file not be written.
    """
    content = read_json(path)
    if not isinstance(content, dict) or "schema_version" not in content:
        raise BadInput(f"{path} is not a record")
    if content["schema_version"] == SCHEMA_VERSION:
        return False
    if content["schema_version"] != BEFORE:
        raise BadInput(f"{path} has record schema {content['schema_version']!r}, not {BEFORE}")
    try:
        write_whole(path, migrated(content, model).to_json())
    except (KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"{path} is not a record of schema {BEFORE}: {error!r}") from error
    except ValidationError as error:
        raise BadInput(f"{path} is not a record of schema {BEFORE}: {problems(error)}") from error
    return True


def migrated(content: dict[str, Any], model: str | None = None) -> Record:
    """Return the record with hashes of configuration, tokenizer and sources, and with its key."""
    about = content["model"]
    identity = locate(model or about["source"]).identity()
    if identity.weights != about["sha256"]:
        raise BadInput(
            f"{about['source']} has other weights now ({identity.weights}) than in the record "
            f"({about['sha256']}); say where the recorded ones are with --model"
        )
    about |= {"config_sha256": identity.configuration, "tokenizer_sha256": identity.tokenizer}
    drawn = {"calibration": content["protocol"]["calibration"]["draw"] == "documents"}
    drawn["training"] = bool((content["protocol"].get("training") or {}).get("documents"))
    for text in content["texts"]:
        documents = drawn.get(text["role"], False)
        text["source_sha256"] = (
            documents_sha256(text["source"]) if documents else text["text_sha256"]
        )
    key = key_of(
        content["method"],
        content["configuration"],
        Protocol.model_validate_json(json.dumps(content["protocol"])),
        model=ModelInfo(**about),
        texts={text["role"]: text["source_sha256"] for text in content["texts"]},
        device=content["hardware"]["accelerator"] or about["device"],
        seed=content["seed"],
        tasks=content["tasks"],
    )
    return Record.model_validate_json(
        json.dumps(content | {"schema_version": SCHEMA_VERSION, "key": key})
    )
