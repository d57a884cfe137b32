"""The last steps of a new or changed entry: made, and judged together with the whole catalog."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tools.adding.draft import Draft, Refused
from tools.catalog.checks import check
from tools.catalog.checks.duplicates import duplicates
from tools.catalog.documents.diagnostics import Level, Problem
from tools.catalog.documents.yaml_reader import parse
from tools.catalog.entries.loader import Catalog, Entry
from tools.catalog.schema.paper import Ids, Paper
from tools.repository import checkout


def today() -> str:
    """Return the day, in UTC as all dates of the catalog."""
    return datetime.now(UTC).date().isoformat()


def known(draft: Draft, catalog: Catalog) -> list[tuple[str, str]]:
    """Return slug and reason of each entry that seems to be the paper of a draft."""
    # Not validated: a draft knows an identifier or a title long before it is an entry.
    ids = Ids.model_construct(None, **draft.data.get("ids", {}))
    fields: dict[str, Any] = {"title": str(draft.data.get("title", "")), "ids": ids}
    return duplicates(Paper.model_construct(**fields), catalog.papers)


def implementations(path: Path) -> Path:
    """Return the folder of the methods in the checkout that an entry lies in."""
    return checkout(path.parent) / "implementations"


def abstracts(path: Path) -> Path:
    """Return the folder of the marks of abstracts in the checkout that an entry lies in."""
    return checkout(path.parent) / "catalog" / "abstracts"


def made(draft: Draft, path: Path) -> Paper:
    """Make the paper of a draft; raises `Refused` with all that is wrong with its facts."""
    paper, problems = draft.paper(path)
    if paper is None:
        raise Refused(
            "these facts cannot stand in an entry:" + _listed(problems),
            (problem.field for problem in problems),
        )
    return paper


def judge(catalog: Catalog, path: Path, paper: Paper, text: str) -> list[str]:
    """Check an entry together with all others; raises `Refused` if it brings an error in.

    Returns what it brings in of warnings and hints; what was wrong before is not its fault.
    """
    document = parse(text, path)
    others = {slug: entry for slug, entry in catalog.entries.items() if slug != path.stem}
    broken = [one for one in catalog.documents if one.path.stem not in catalog.entries]
    entry = Entry(path.stem, paper, document)
    before = set(check(Catalog(others, broken), checkout(path.parent)))
    after = check(Catalog({**others, path.stem: entry}, [*broken, document]), checkout(path.parent))
    brought = [problem for problem in after if problem not in before]
    errors = [problem for problem in brought if problem.level is Level.ERROR]
    if errors:
        raise Refused(
            "the entry would not pass the checks:" + _listed(errors),
            (problem.field for problem in errors if problem.file == path),
        )
    return [_line(one) for one in brought if one.file == path]


def _listed(problems: Iterable[Problem]) -> str:
    return "".join(f"\n  - {_line(problem)}" for problem in problems)


def _line(problem: Problem) -> str:
    """Say what is wrong by field: the line of a file that is not written helps nobody."""
    what = filter(None, (problem.message, problem.advice))
    return f"{problem.field or problem.file.stem}: {'; '.join(what)}"
