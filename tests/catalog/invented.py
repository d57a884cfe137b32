"""A small invented catalog, functions to change it, and its problems."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tools.catalog.checks import check
from tools.catalog.documents.diagnostics import Problem
from tools.catalog.entries.loader import read_catalog
from tools.catalog.schema.paper import PAPER_FIELDS, Paper

DATA = Path(__file__).parent / "data"
BROKEN = sorted((DATA / "broken").glob("*.yaml"))

Change = Callable[..., Path]

FACTS = {
    "title": "A Pruner",
    "authors": ["Ada Lovelace"],
    "kind": "method",
    "summary": "Prunes one thing after another by a rule that anybody can read. The rule is"
    " invented, so that neither a work nor a number is behind it at all.",
    "year": 2024,
    "status": "published",
    "added": "2026-11-25",
    "ids": {"arxiv": "2306.11695"},
    "sources": {"checked": "2026-11-25", "read": "paper", "from": ["paper text"]},
}


def paper(**changes: Any) -> Paper:
    """Return a small paper with some facts changed."""
    return Paper.model_validate(FACTS | changes)


def baseline(**changes: Any) -> Paper:
    """Return a small baseline without a paper."""
    taxonomy = {"granularity": ["structured"], "criterion": ["random"], "calibration": "none"}
    left = {name: fact for name, fact in FACTS.items() if name not in (*PAPER_FIELDS, "ids")}
    facts = {"title": "Chance", "kind": "baseline", "taxonomy": taxonomy}
    return Paper.model_validate(left | facts | changes)


def copy_atlas(place: Path) -> Path:
    """Copy the invented repository of two entries; return its folder of entries."""
    return Path(shutil.copytree(DATA / "atlas", place)) / "catalog" / "papers"


def changed(path: Path, *changes: tuple[str, str]) -> Path:
    """Replace texts in an entry; each must exist."""
    text = path.read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    path.write_text(text, encoding="utf-8")
    return path


def checked(papers: Path) -> list[Problem]:
    """Return all problems of an invented catalog with valid entries."""
    catalog = read_catalog(papers)
    assert not catalog.problems, catalog.problems
    return [p for p in check(catalog, papers.parents[1]) if "vocabulary" not in p.file.parts]


def messages(papers: Path) -> list[str]:
    """Return all problems as text, with file names instead of paths."""
    return [str(problem).replace(f"{papers}/", "") for problem in checked(papers)]


def assert_one_problem(papers: Path, old: str, new: str, problem: str | type | None) -> None:
    """Change `river` in one place and assert the one expected problem, or none."""
    lines = changed(papers / "river.yaml", (old, new)).read_text(encoding="utf-8").splitlines()
    if problem is ValueError:
        assert read_catalog(papers).problems, "the schema should refuse it"
        return
    if problem is None:
        assert messages(papers) == []
        return
    found = [line for line in messages(papers) if str(problem) in line]
    assert len(found) == 1, messages(papers)
    _, number, field, _ = re.split(r":(\d+): ([^ ]+): ", found[0])
    name = re.findall(r"[a-z-]+", field)[-1]
    assert name in lines[int(number) - 1] or new in lines[int(number) - 1], found
