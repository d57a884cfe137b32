"""The methods: every folder under `implementations/` with a file `<slug>/<slug>.py`.

Listing methods and checking names imports neither torch nor a method.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from implementations.harness.errors import BadInput, unknown_name
from implementations.harness.results.store import IMPLEMENTATIONS

if TYPE_CHECKING:
    from implementations.harness.prune.method import Method


def methods(folder: Path = IMPLEMENTATIONS) -> list[str]:
    """List the slugs of all method folders."""
    return sorted(p.parent.name for p in folder.glob("*/*.py") if p.stem == p.parent.name)


def check_name(slug: str) -> None:
    """Raise `BadInput` with a suggestion unless a method has this name."""
    if slug not in methods():
        raise BadInput(unknown_name(slug, methods(), "method"))


def get(slug: str) -> type[Method]:
    """Return the method class of a folder; raises `BadInput` with a suggestion if there is none."""
    check_name(slug)
    from implementations.harness.prune.method import Method

    module = importlib.import_module(f"implementations.{slug}")
    classes = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Method)
    ]
    if len(classes) != 1:
        raise BadInput(
            f"implementations/{slug}/__init__.py must export one Method, got {len(classes)}"
        )
    return classes[0]
