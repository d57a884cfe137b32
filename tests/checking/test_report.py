"""Problems as text, as JSON and as annotations of a pull request."""

from __future__ import annotations

import json
from pathlib import Path

from tools.catalog.documents.diagnostics import Level, Problem
from tools.checking.report import as_annotations, as_json, as_text

ENTRY = Path("catalog/papers/river.yaml")


NASTY = Problem(ENTRY, 3, "title", "holds '100 %:\n\x1b[31m,\u202e'", "remove it")


def test_escapes_terminal_and_github_commands() -> None:
    hint = Problem(ENTRY, 1, "", "a:b", level=Level.HINT)
    assert as_text([NASTY]) == [f"{ENTRY}:3: title: holds '100 %:\\n\\x1b[31m,\\u202e'; remove it"]
    assert as_annotations([NASTY, hint]) == [
        f"::error file={ENTRY},line=3,title=title::holds '100 %25:\\n\\x1b[31m,\\u202e'; remove it",
        f"::notice file={ENTRY},line=1,title=entry::a:b",
    ]
    odd = Problem(Path("a,b:c.yaml"), 1, "x", "y")
    assert as_annotations([odd]) == ["::error file=a%2Cb%3Ac.yaml,line=1,title=x::y"]
    assert json.loads(as_json([NASTY]))[0]["message"] == NASTY.message
