"""Records made up for tests, with the key that their content gives."""

from __future__ import annotations

from implementations.harness.results.record import Record


def keyed(**fields: object) -> Record:
    """Make a record of all fields but its key."""
    draft = Record.model_construct(**fields)
    return Record(**fields | {"key": draft.key_with(draft.seed)})


def changed(record: Record, **changes: object) -> Record:
    """Make another record that differs as asked, and so perhaps in its key."""
    return keyed(**dict(record) | changes)
