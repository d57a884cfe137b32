"""The catalog as JSON."""

from __future__ import annotations

import json

from tools.catalog.entries.loader import load_catalog
from tools.catalog.exports.papers_json import SCHEMA, papers_json
from tools.catalog.schema.paper import Paper
from tools.repository import implemented


def test_json_contains_all_and_derived_fields() -> None:
    papers = load_catalog()
    content = json.loads(papers_json(papers, implemented()))
    assert content["$schema"] == SCHEMA
    records = content["papers"]
    assert [record["slug"] for record in records] == sorted(papers)
    derived = ("slug", "group", "page", "addresses", "bibtex", "implemented")
    for record in records:
        own = {name: value for name, value in record.items() if name not in derived}
        assert Paper.model_validate(own) == papers[record["slug"]]
        assert [] not in own.get("taxonomy", {}).values()
        if "authors" in record:
            assert record["bibtex"].startswith("@")
            assert record["page"] in {address["url"] for address in record["addresses"]}
        else:
            assert (record["bibtex"], record["page"], record["addresses"]) == ("", "", [])
    assert {r["slug"] for r in records if r["implemented"]} == {
        slug for slug, paper in papers.items() if paper.fidelity or not paper.has_paper
    }
