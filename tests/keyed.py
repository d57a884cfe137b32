"""Invented records for tests, with the key of their content."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from implementations.harness.results.metric import AGREEMENT, DIVERGENCE, beside
from implementations.harness.results.protocol import MEASUREMENT, PROTOCOLS, Protocol
from implementations.harness.results.record import (
    DENSE,
    NO_SPEED_UP,
    SCHEMA_VERSION,
    Dense,
    Footprint,
    Hardware,
    ModelInfo,
    Peak,
    Record,
    Speed,
    TextInfo,
)


def keyed(**fields: object) -> Record:
    """Create a record from all fields except its key."""
    draft = Record.model_construct(**fields)
    return Record(**fields | {"key": draft.key_with(draft.seed)})


def changed(record: Record, **changes: object) -> Record:
    """Return a changed copy of a record, with its new key."""
    return keyed(**dict(record) | changes)


def with_divergence(record: Record, divergence: float, agreement: float) -> Record:
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


WEIGHTS = Footprint(parameters=1000, nonzero=1000, bytes=4000, macs=900)
TEXT = TextInfo(
    role="calibration",
    source="c4",
    source_sha256="1" * 64,
    text_sha256="1" * 64,
    ids_sha256="2" * 64,
    samples=2,
    length=1024,
    spans=((0, 1024), (2048, 3072)),
)
MODEL = ModelInfo(
    name="smollm2-135m",
    source="smollm2-135m",
    sha256="0" * 64,
    config_sha256="3" * 64,
    tokenizer_sha256="4" * 64,
    family="llama",
    dtype="float32",
    device="cpu",
    accelerator="cpu",
    parameters=1000,
)


def invented(**changes: object) -> Record:
    """Create a valid record with invented numbers and the given changes."""
    achieved = changes.get("achieved", 0.0 if changes.get("method") == DENSE else 0.5)
    removed = round(900 * achieved)
    fields = {
        "schema_version": SCHEMA_VERSION,
        "run": "20261125T120000Z-00000000",
        "name": f"smollm2-135m-s0.5-seed{changes.get('seed', 0)}",
        "date": datetime(2026, 11, 25, 12, tzinfo=UTC),
        "measurement": MEASUREMENT,
        "revision": 1,
        "command": "atlas run wanda --sparsity 0.5",
        "method": "wanda",
        "granularity": ("unstructured",),
        "configuration": {"sparsity": 0.5, "pattern": None},
        "changed": (),
        "requested": 0.5,
        "achieved": achieved,
        "details": {},
        "protocol": PROTOCOLS["smol"],
        "seed": 0,
        "model": MODEL,
        "texts": (TEXT,),
        "disjoint": "checked",
        "values": {"ppl/wikipedia/1024": 40.0, "ppl/c4/1024": 50.0},
        "dense": Dense(
            run="20261125T110000Z-11111111",
            values={"ppl/wikipedia/1024": 20.0, "ppl/c4/1024": 25.0},
            footprint=WEIGHTS,
        ),
        "footprint": Footprint(
            parameters=1000, nonzero=1000 - removed, bytes=4000, macs=900 - removed
        ),
        "speed": Speed(note=NO_SPEED_UP),
        "sample": "The history of the city begins with a river.",
        "labels": (),
        "warnings": (),
        "seconds": {"prune": 1.5},
        "peak": Peak(bytes=2000, start=1000, how="resident set"),
        "hardware": Hardware(
            cpu="some", cores=2, threads=2, memory=8000, accelerator=None, system="Linux"
        ),
        "versions": {"torch": "2.13.0", "transformers": "5.24.0"},
        "commit": None,
        "dirty": None,
    }
    return keyed(**(fields | changes))
