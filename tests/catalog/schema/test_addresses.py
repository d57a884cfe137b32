"""Where an entry leads to, the best page first."""

from __future__ import annotations

from tests.catalog.invented import paper
from tools.catalog.schema.addresses import best_page, every_address, pages


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


def test_every_address_of_an_entry_is_there() -> None:
    it = paper(
        links={"venue": "https://v.org/a", "weights": "https://w.org/a"},
        code=[{"url": "https://github.com/a/b", "official": True}],
        relations={"builds-on": ["wanda", {"title": "Old", "year": 1993, "doi": "10.1000/x"}]},
    )
    assert dict(every_address(it)) == {
        "links.venue": "https://v.org/a",
        "ids.arxiv": "https://arxiv.org/abs/2306.11695",
        "links.weights": "https://w.org/a",
        "code[0].url": "https://github.com/a/b",
        "relations.builds-on": "https://doi.org/10.1000/x",
    }
