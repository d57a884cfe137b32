"""Records made up for tests, with the key that their content gives."""

from __future__ import annotations

import json
from typing import Any

from implementations.harness.results.protocol import Protocol
from implementations.harness.results.record import Hardware, ModelInfo, Record, TextInfo


def keyed(**fields: object) -> Record:
    """Make a record of all fields but its key."""
    draft = Record.model_construct(**fields)
    return Record(**fields | {"key": draft.key_with(draft.seed)})


def changed(record: Record, **changes: object) -> Record:
    """Make another record that differs as asked, and so perhaps in its key."""
    return keyed(**dict(record) | changes)


def rekeyed(content: Any) -> Any:
    """Put the key of its content into what a file of a record holds, if the content gives one."""
    try:
        draft = Record.model_construct(
            **content
            | {
                "protocol": Protocol.model_validate_json(json.dumps(content["protocol"])),
                "model": ModelInfo.model_validate_json(json.dumps(content["model"])),
                "hardware": Hardware.model_validate_json(json.dumps(content["hardware"])),
                "texts": [TextInfo.model_validate_json(json.dumps(t)) for t in content["texts"]],
            }
        )
        return content | {"key": draft.key_with(draft.seed)}
    except (KeyError, TypeError, AttributeError, ValueError):
        return content
