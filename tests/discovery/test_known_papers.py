"""Papers of the catalog are found by link, title or repository."""

from __future__ import annotations

from typing import Any

import pytest

from tools.catalog.schema.paper import Paper
from tools.discovery.known_papers import index_papers
from tools.discovery.list_parser import read_list

ENTRY: dict[str, Any] = {
    "title": "A Simple Pruner",
    "other_titles": ["The Pruner in Its First Version"],
    "authors": ["Ada Lovelace"],
    "kind": "method",
    "summary": "Prunes.",
    "venue": "icml",
    "year": 2024,
    "status": "published",
    "added": "2026-11-25",
    "ids": {"arxiv": "2306.11695", "openreview": "PxoFut3dWW", "ieee": "10889000"},
    "links": {"venue": "https://v.org/paper?id=7"},
    "code": [{"url": "https://github.com/a/B", "official": True}],
    "taxonomy": {
        "granularity": ["semi-structured"],
        "criterion": ["gradient"],
        "calibration": "forward",
    },
    "sources": {"checked": "2026-11-25", "from": ["paper text"]},
}


def found(line: str, **changes: Any) -> str:
    index = index_papers({"pruner": Paper.model_validate(ENTRY | changes)})
    (item,) = read_list(line)
    return index.find(item.title, item.links)


@pytest.mark.parametrize(
    "line",
    [
        "- Other words entirely here [pdf](https://arxiv.org/pdf/2306.11695v3.pdf)",
        "- Other words entirely here [pdf](http://www.openreview.net/pdf?id=PxoFut3dWW)",
        "- Other words entirely here [pdf](https://doi.org/10.48550/arXiv.2306.11695)",
        "- Other words here [pdf](https://ieeexplore.ieee.org/abstract/document/10889000)",
        "- Other words entirely here [pdf](http://v.org/paper/?id=7)",
        "- A simple pruner! [pdf](https://mirror.org/1)",
        "- The pruner in its first version [pdf](https://mirror.org/1)",
        "- Other words entirely here [code](https://github.com/A/b.git)",
    ],
)
def test_finds_papers_by_link_title_or_repository(line: str) -> None:
    assert found(line) == "pruner"


def test_unofficial_repositories_do_not_identify_papers() -> None:
    others = [{"url": "https://github.com/a/B", "official": False}]
    assert found("- Other words entirely here [code](https://github.com/a/B)", code=others) == ""
