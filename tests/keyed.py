"""Invented records for tests, with the key of their content."""

from __future__ import annotations

import json
from typing import Any

from implementations.harness.results.metric import AGREEMENT, DIVERGENCE, beside
from implementations.harness.results.protocol import Protocol
from implementations.harness.results.record import Hardware, ModelInfo, Record, TextInfo


def keyed(**fields: object) -> Record:
    """Create a record from all fields except its key."""
    draft = Record.model_construct(**fields)
    return Record(**fields | {"key": draft.key_with(draft.seed)})


def changed(record: Record, **changes: object) -> Record:
    """Return a changed copy of a record, with its new key."""
    return keyed(**dict(record) | changes)


def beside_dense(record: Record, divergence: float, agreement: float) -> Record:
    """Return a copy of a record with the same divergence and agreement on every text."""
    values = {}
    for name, value in record.values.items():
        pair = {beside(name, DIVERGENCE): divergence, beside(name, AGREEMENT): agreement}
        values |= {name: value} | pair
    return changed(record, values=values)


def rekeyed(content: Any) -> Any:
    """Set the key in the content of a record file, if the content is valid."""
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
