"""Tests that `make test` leaves to `make test-all`."""

from __future__ import annotations

import pytest

from implementations.harness.contract.tiny import MODEL_TYPES

QUICK = ("llama", "opt")
"""The families in `make test`, which differ most: llama has grouped KV heads, gated MLPs, rotary
positions and no biases; opt has none of these but biases."""


def leave_further_families(item: pytest.Item) -> None:
    """Mark a test that is parametrised with another family, so that `make test` skips it."""
    callspec = getattr(item, "callspec", None)
    values = callspec.params.values() if callspec else ()
    if any(
        isinstance(value, str) and value in MODEL_TYPES and value not in QUICK for value in values
    ):
        item.add_marker("full")
