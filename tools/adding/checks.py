"""Validation of a new or changed entry, alone and together with the whole catalog."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tools.adding.draft import Draft, EntryError
from tools.catalog.checks import check
from tools.catalog.checks.duplicates import Known
from tools.catalog.documents.diagnostics import Level, Problem
from tools.catalog.documents.yaml_reader import parse
from tools.catalog.entries.loader import Catalog, Entry
from tools.catalog.schema.paper import Ids, Paper
from tools.repository import checkout


def today() -> str:
    """Return the date in UTC."""
    return datetime.now(UTC).date().isoformat()


def known_entries(draft: Draft, catalog: Catalog) -> list[tuple[str, str]]:
    """Return slug and reason of each entry that seems to be the paper of a draft."""
    # A draft is compared before it is complete, so it is not validated here.
    ids = Ids.model_construct(None, **draft.data.get("ids", {}))
    fields: dict[str, Any] = {"title": str(draft.data.get("title", "")), "ids": ids}
    return Known(catalog.papers).same_as(Paper.model_construct(**fields))


def implementations(path: Path) -> Path:
    """Return the folder of the methods in the checkout of an entry."""
    return checkout(path.parent) / "implementations"


def abstracts(path: Path) -> Path:
    """Return the folder of the abstract fingerprints in the checkout of an entry."""
    return checkout(path.parent) / "catalog" / "abstracts"


def build_paper(draft: Draft, path: Path) -> Paper:
    """Return the paper of a draft; raises `EntryError` that lists all problems of its facts."""
    paper, problems = draft.paper(path)
    if paper is None:
        raise EntryError(
            "these facts are not valid:" + _listed(problems),
            (problem.field for problem in problems),
        )
    return paper


def check_entry(catalog: Catalog, path: Path, paper: Paper, text: str) -> list[str]:
    """Check an entry together with all others and return its warnings.

    Problems that the catalog had before do not count. Raises `EntryError` for new errors.
    """
    document = parse(text, path)
    others = {slug: entry for slug, entry in catalog.entries.items() if slug != path.stem}
    broken = [one for one in catalog.documents if one.path.stem not in catalog.entries]
    entry = Entry(path.stem, paper, document)
    before = set(check(Catalog(others, broken), checkout(path.parent)))
    after = check(Catalog({**others, path.stem: entry}, [*broken, document]), checkout(path.parent))
    new = [problem for problem in after if problem not in before]
    errors = [problem for problem in new if problem.level is Level.ERROR]
    if errors:
        raise EntryError(
            "the entry does not pass the checks:" + _listed(errors),
            (problem.field for problem in errors if problem.file == path),
        )
    return [_line(one) for one in new if one.file == path]


def _listed(problems: Iterable[Problem]) -> str:
    return "".join(f"\n  - {_line(problem)}" for problem in problems)


def _line(problem: Problem) -> str:
    """Format a problem without a line number, because the file is not written yet."""
    parts = filter(None, (problem.message, problem.advice))
    return f"{problem.field or problem.file.stem}: {'; '.join(parts)}"
