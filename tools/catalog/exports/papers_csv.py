"""The catalog as CSV for spreadsheets, with one row per paper."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from implementations.harness.errors import csv_cell
from tools.catalog.exports.awesome_list import group
from tools.catalog.exports.bibtex import keys
from tools.catalog.schema.addresses import best_code, best_page
from tools.catalog.schema.paper import Ids, Paper, Taxonomy


def papers_csv(papers: Mapping[str, Paper], methods: Collection[str]) -> str:
    """Return one row per paper, quoted as in RFC 4180, with lists joined by `; `."""
    made = keys(papers)
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    for index, slug in enumerate(sorted(papers)):
        row = dict(_row(slug, papers[slug], made.get(slug), methods))
        if index == 0:
            writer.writerow(row)
        writer.writerow(map(cell, row.values()))
    return file.getvalue()


def cell(value: Any) -> str:
    """Return the escaped text of one cell; values of a list are joined by `; `."""
    return csv_cell("; ".join(value) if isinstance(value, list | tuple) else str(value or ""))


def _row(
    slug: str, paper: Paper, key: str | None, methods: Collection[str]
) -> Iterator[tuple[str, Any]]:
    """Yield the columns of one paper in order."""
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
    yield "read", paper.sources.read
    yield "fidelity", paper.fidelity
    yield "implemented", _flag(slug in methods)
    yield "bibkey", key
    yield "summary", paper.summary
    yield "notes", paper.notes


def _flag(value: bool) -> str:
    return "true" if value else "false"
