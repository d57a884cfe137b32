"""The best page of an entry."""

from __future__ import annotations

from tests.catalog.invented import paper
from tools.catalog.schema.addresses import best_page, pages


def test_best_page_is_the_verified_one_of_the_publisher() -> None:
    ids = {"arxiv": "2301.00774", "openreview": "PxoFut3dWW", "pmlr": "v202/frantar23a"}
    sources = {"checked": "2026-11-25", "from": ["paper"], "unverified": ["ids.pmlr"]}
    assert best_page(paper(ids=ids)) == "https://proceedings.mlr.press/v202/frantar23a.html"
    assert [name for name, _ in pages(paper(ids=ids, sources=sources))] == [
        "ids.openreview",
        "ids.arxiv",
        "ids.pmlr",
    ]
    every = sources | {"unverified": ["ids"]}
    assert best_page(paper(ids=ids, sources=every)).startswith("https://proceedings.mlr.press/")
    assert best_page(paper(ids={})) == ""
