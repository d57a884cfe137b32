"""The catalog as JSON: all fields of all papers, and derived values."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from tools.catalog.entries.writer import as_data
from tools.catalog.exports.awesome_list import group
from tools.catalog.exports.bibtex import bibtex, keys
from tools.catalog.schema.addresses import best_page
from tools.catalog.schema.paper import Paper

SCHEMA = "urn:pruning-atlas:papers:1"
"""Format of `papers.json`; the number increases with incompatible changes."""


def papers_json(papers: Mapping[str, Paper], methods: Collection[str]) -> str:
    """Return all fields of all papers as JSON, with derived values."""
    made = keys(papers)
    records = [_record(slug, papers[slug], made.get(slug), methods) for slug in sorted(papers)]
    content = {"$schema": SCHEMA, "papers": records}
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


def _record(slug: str, paper: Paper, key: str | None, methods: Collection[str]) -> dict[str, Any]:
    return {
        "slug": slug,
        **as_data(paper),
        "group": group(paper),
        "page": best_page(paper),
        "addresses": [{"label": label, "url": address} for label, address in paper.addresses],
        "bibtex": bibtex(slug, paper, key),
        "implemented": slug in methods,
    }
