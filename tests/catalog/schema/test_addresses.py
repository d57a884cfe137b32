"""Where an entry leads to, the best page first."""

from __future__ import annotations

from tests.catalog.invented import paper
from tools.catalog.schema.addresses import best_page, pages


def test_the_best_page_is_the_publishers_unless_nobody_could_check_it() -> None:
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
