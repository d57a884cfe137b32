"""Answers saved after each question, so that an interrupted session can continue."""

from __future__ import annotations

import json
from pathlib import Path

from tools.adding.draft import YOU, Draft, Value
from tools.adding.fields import FIELDS
from tools.adding.proposals import letters
from tools.catalog.entries.files import make_folder, write_file
from tools.repository import checkout

MAX_NAME = 60


def answers_path(catalog: Path, given: str) -> Path:
    """Return the file of the answers; `given` is the paper or file on the command line."""
    name = letters(given)[:MAX_NAME] or "byhand"
    return checkout(catalog) / ".cache" / "adding" / f"{name}.json"


def save_answers(draft: Draft, path: Path) -> None:
    """Write the facts that a person gave by flag, and null for skipped questions."""
    answers = {
        flag: draft.get(field.loc)
        for flag, field in FIELDS.items()
        if flag in draft.answered or draft.origin.get(field.loc) == YOU
    }
    make_folder(path.parent)
    write_file(path, json.dumps(answers, ensure_ascii=False, indent=1) + "\n", force=True)


def load_answers(path: Path) -> dict[str, Value | None]:
    """Return the answers in a file, or none if there is no file or it cannot be read."""
    try:
        answers = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {flag: value for flag, value in answers.items() if flag in FIELDS}
