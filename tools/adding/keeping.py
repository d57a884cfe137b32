"""What somebody answered, kept until there is an entry: nothing typed is lost."""

from __future__ import annotations

import json
from pathlib import Path

from tools.adding.draft import Draft
from tools.adding.proposals import letters
from tools.catalog.entries.files import write_file
from tools.repository import checkout

LONGEST = 60


def place(catalog: Path, what: str) -> Path:
    """Return the file of a draft; `what` is what the command was given to add."""
    name = letters(what)[:LONGEST] or "byhand"
    return checkout(catalog) / ".cache" / "adding" / f"{name}.json"


def keep(draft: Draft, path: Path) -> None:
    """Write a draft down, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = {
        "data": draft.data,
        "origin": [[list(loc), origin] for loc, origin in draft.origin.items()],
        "guessed": sorted(([*loc] for loc in draft.guessed), key=str),
        "sources": draft.sources,
        "abstract": draft.abstract,
        "answered": sorted(draft.answered),
    }
    write_file(path, json.dumps(kept, ensure_ascii=False, indent=1) + "\n", force=True)


def kept(path: Path) -> Draft | None:
    """Read a draft, if there is one that reads."""
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
        return None  # what cannot be read is asked anew
