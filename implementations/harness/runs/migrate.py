"""Upgrade of records from the previous schema, whose keys covered fewer inputs.

Values stay unchanged. The missing hashes are computed from the model and the texts, which must
still be available and unchanged.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from implementations.harness.data.sources import documents_sha256
from implementations.harness.errors import BadInput
from implementations.harness.model.loading import locate
from implementations.harness.results.files import write_atomically
from implementations.harness.results.protocol import Protocol
from implementations.harness.results.reading import read_json, validation_problems
from implementations.harness.results.record import SCHEMA_VERSION, ModelInfo, Record, key_of

PREVIOUS_VERSION = SCHEMA_VERSION - 1


def migrate(path: Path, model: str | None = None) -> bool:
    """Upgrade one record in place and return whether it was outdated.

    `model` is the current location of the model, if it differs from the recorded one.

    Raises:
        BadInput: the file is not a record of the previous schema, or its model or texts changed.
        Unavailable: the model cannot be downloaded, or the file cannot be written.
    """
    content = read_json(path)
    if not isinstance(content, dict) or "schema_version" not in content:
        raise BadInput(f"{path} is not a record")
    if content["schema_version"] == SCHEMA_VERSION:
        return False
    if content["schema_version"] != PREVIOUS_VERSION:
        version = content["schema_version"]
        raise BadInput(
            f"{path} has record schema {version!r}; only {PREVIOUS_VERSION} can be upgraded"
        )
    try:
        write_atomically(path, migrated(content, model).to_json())
    except (KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"{path} is not a record of schema {PREVIOUS_VERSION}: {error!r}") from error
    except ValidationError as error:
        raise BadInput(
            f"{path} is not a record of schema {PREVIOUS_VERSION}: {validation_problems(error)}"
        ) from error
    return True


def migrated(content: dict[str, Any], model: str | None = None) -> Record:
    """Return the record with the hashes of configuration, tokenizer and sources, and a new key."""
    about = content["model"]
    identity = locate(model or about["source"]).identity()
    if identity.weights != about["sha256"]:
        raise BadInput(
            f"the weights of {about['source']} ({identity.weights}) differ from the recorded ones "
            f"({about['sha256']}); give the location of the recorded model with --model"
        )
    about |= {"config_sha256": identity.configuration, "tokenizer_sha256": identity.tokenizer}
    draws_documents = {"calibration": content["protocol"]["calibration"]["draw"] == "documents"}
    draws_documents["training"] = bool((content["protocol"].get("training") or {}).get("documents"))
    for text in content["texts"]:
        text["source_sha256"] = (
            documents_sha256(text["source"])
            if draws_documents.get(text["role"], False)
            else text["text_sha256"]
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
