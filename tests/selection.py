"""Tests that `make test` leaves to `make test-all`."""

from __future__ import annotations

import pytest

from implementations.harness.contract.tiny import MIXTURE_TYPES, MODEL_TYPES

QUICK = ("llama", "opt", "mixtral")
"""The families in `make test`, which differ most: llama has grouped KV heads, gated MLPs, rotary
positions and no biases; opt has none of these but biases; mixtral has experts."""


def is_further_family(value: object) -> bool:
    """Return whether a parameter of a test names a family that is not in `make test`."""
    families = MODEL_TYPES | MIXTURE_TYPES
    return isinstance(value, str) and value in families and value not in QUICK


def leave_further_families(item: pytest.Item) -> None:
    """Mark a test that is parametrised with another family, so that `make test` skips it."""
    callspec = getattr(item, "callspec", None)
    values = callspec.params.values() if callspec else ()
    if any(map(is_further_family, values)):
        item.add_marker("full")
