"""The methods there are: a folder under `implementations/` that holds `<slug>/<slug>.py` is one."""

from __future__ import annotations

import importlib
from pathlib import Path

from implementations.harness.errors import BadInput, unknown_name
from implementations.harness.prune.method import Method
from implementations.harness.results.record import IMPLEMENTATIONS


def methods(folder: Path = IMPLEMENTATIONS) -> list[str]:
    """List the slugs of all method folders."""
    return sorted(p.parent.name for p in folder.glob("*/*.py") if p.stem == p.parent.name)


def get(slug: str) -> type[Method]:
    """Return the method class of a folder; raises `BadInput` with the nearest name."""
    if slug not in methods():
        raise BadInput(unknown_name(slug, methods(), "method"))
    module = importlib.import_module(f"implementations.{slug}")
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Method)
    ]
    if len(found) != 1:
        raise BadInput(
            f"implementations/{slug}/__init__.py must export one Method, not {len(found)}"
        )
    return found[0]
