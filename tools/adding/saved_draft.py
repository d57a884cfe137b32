"""Drafts saved after each answer, so that an interrupted session can continue."""

from __future__ import annotations

import json
from pathlib import Path

from tools.adding.draft import Draft
from tools.adding.proposals import letters
from tools.catalog.entries.files import write_file
from tools.repository import checkout

MAX_NAME = 60


def draft_path(catalog: Path, given: str) -> Path:
    """Return the file of a draft; `given` is the paper or file on the command line."""
    name = letters(given)[:MAX_NAME] or "byhand"
    return checkout(catalog) / ".cache" / "adding" / f"{name}.json"


def save_draft(draft: Draft, path: Path) -> None:
    """Write a draft to its file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = {
        "data": draft.data,
        "origin": [[list(loc), origin] for loc, origin in draft.origin.items()],
        "guessed": sorted(([*loc] for loc in draft.guessed), key=str),
        "sources": draft.sources,
        "abstract": draft.abstract,
        "answered": sorted(draft.answered),
    }
    write_file(path, json.dumps(data, ensure_ascii=False, indent=1) + "\n", force=True)


def load_draft(path: Path) -> Draft | None:
    """Read a draft; return None if there is none or it cannot be read."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return Draft(
            data=data["data"],
            origin={tuple(loc): origin for loc, origin in data["origin"]},
            guessed={tuple(loc) for loc in data["guessed"]},
            sources=data["sources"],
            abstract=data["abstract"],
            answered=set(data["answered"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
