"""Support of model families and patterns by each method, as found by the contract."""

from __future__ import annotations

from pathlib import Path

from implementations.harness.contract.cases import support
from implementations.harness.errors import BadInput, unknown_name
from implementations.harness.progress import track
from implementations.harness.results.files import format_json, write_atomically
from implementations.harness.results.store import IMPLEMENTATIONS, methods
from implementations.harness.runs.recording import require_checkout


def write_support(slug: str | None = None) -> list[Path]:
    """Write `records/support.json` of one method, or of all, and return the files.

    Raises:
        BadInput: unknown method, or outside a checkout.
    """
    require_checkout("atlas support")
    slugs = methods()
    if slug is not None:
        if slug not in slugs:
            raise BadInput(unknown_name(slug, slugs, "method"))
        slugs = [slug]
    paths = []
    for name in track(slugs, "trying every family and pattern"):
        path = IMPLEMENTATIONS / name / "records" / "support.json"
        write_atomically(path, format_json(support(name)) + "\n")
        paths.append(path)
    return paths
