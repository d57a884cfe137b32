"""The whole catalog as files for others: JSON, BibTeX, CSV and an Awesome list, as strings.

The same catalog gives the same bytes: papers are in the order of their slugs, lines end in LF.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from implementations.harness.results.files import whole
from tools.catalog.addresses import best_code, best_page
from tools.catalog.bibtex import bibliography, bibtex, keys
from tools.catalog.listing import group, listing
from tools.catalog.paper import Ids, Paper, Taxonomy
from tools.catalog.vocabulary import REPOSITORY

SCHEMA = "urn:pruning-atlas:papers:1"
"""Name of the layout of `papers.json`; the number grows when a reader would have to change."""

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""First characters by which a spreadsheet takes a cell for a formula."""


def implemented(folder: Path = REPOSITORY / "implementations") -> frozenset[str]:
    """Return the slugs that have a method folder."""
    return frozenset(path.stem for path in folder.glob("*/*.py") if path.stem == path.parent.name)


def papers_json(papers: Mapping[str, Paper], methods: Collection[str]) -> str:
    """Return all fields of all papers as JSON, with what is derived from them."""
    made = keys(papers)
    records = [_record(slug, papers[slug], made[slug], methods) for slug in sorted(papers)]
    content = {"$schema": SCHEMA, "papers": records}
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


def papers_csv(papers: Mapping[str, Paper], methods: Collection[str]) -> str:
    """Return one row a paper, quoted as in RFC 4180, with lists joined by `; `.

    A cell that a spreadsheet would run as a formula begins with an apostrophe instead.
    """
    made = keys(papers)
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    for index, slug in enumerate(sorted(papers)):
        row = dict(_row(slug, papers[slug], made[slug], methods))
        if index == 0:
            writer.writerow(row)
        writer.writerow(map(cell, row.values()))
    return file.getvalue()


EXPORTS: Mapping[str, Callable[[Mapping[str, Paper], Collection[str]], str]] = {
    "papers.json": papers_json,
    "papers.bib": lambda papers, _: bibliography(papers),
    "papers.csv": papers_csv,
    "LIST.md": lambda papers, _: listing(papers),
}
"""What makes each file, of the papers by slug and the slugs that have a method folder."""


def cell(value: Any) -> str:
    """Write a value as the text of one cell, none of which is a formula."""
    text = "; ".join(value) if isinstance(value, list | tuple) else str(value or "")
    return f"'{text}" if text.startswith(FORMULA) else text


def _record(slug: str, paper: Paper, key: str, methods: Collection[str]) -> dict[str, Any]:
    return {
        "slug": slug,
        **paper.model_dump(mode="json", by_alias=True, exclude_none=True),
        "group": group(paper),
        "page": best_page(paper),
        "addresses": [{"label": label, "url": address} for label, address in paper.addresses],
        "bibtex": bibtex(slug, paper, key),
        "implemented": slug in methods,
    }


def _row(slug: str, paper: Paper, key: str, methods: Collection[str]) -> Iterator[tuple[str, Any]]:
    """Yield the columns of one paper in their order."""
    yield "slug", slug
    for name in ("title", "authors", "kind", "role", "venue", "year", "track", "status"):
        yield name, getattr(paper, name)
    for name in ("volume", "number", "pages", "submitted", "published", "added"):
        yield name, getattr(paper, name)
    for name in Ids.model_fields:
        yield name, getattr(paper.ids, name)
    code = best_code(paper)
    yield "page", best_page(paper)
    yield "code", code and code.url
    yield "code_official", "" if code is None else _flag(code.official)
    yield "code_license", code and code.license
    yield "group", group(paper)
    for name in Taxonomy.model_fields:
        yield name, paper.taxonomy and getattr(paper.taxonomy, name)
    yield "models", paper.models
    yield "fidelity", paper.fidelity
    yield "implemented", _flag(slug in methods)
    yield "bibkey", key
    yield "summary", paper.summary
    yield "notes", paper.notes


def _flag(value: bool) -> str:
    return "true" if value else "false"


def write(texts: Mapping[str, str], folder: Path) -> list[Path]:
    """Write all files or none into a folder, which is made; raises `OSError`.

    A reader never sees half a file, nor any before all are written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        for name, text in texts.items():
            stack.enter_context(whole(folder / name)).write(text.encode())
    return [folder / name for name in texts]
