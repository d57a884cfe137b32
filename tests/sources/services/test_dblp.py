"""DBLP."""

from __future__ import annotations

from tests.sources.replay import Replay
from tools.sources.client import Client
from tools.sources.lookup.queries import search
from tools.sources.services.dblp import Dblp


def test_parses_single_author_and_numbers(client: Client) -> None:
    (facts,) = search(Dblp(), "An Invented Record in the Old Style of Identifiers", client)
    assert facts.authors == ("Ada Example",)
    assert (facts.venue, facts.volume, facts.notes) == (None, None, ())
    assert facts.ids == {"arxiv": "cs/0601001"}


def test_parses_published_paper_and_preprint(client: Client) -> None:
    title = "SparseGPT: Massive Language Models Can be Accurately Pruned in One-Shot"
    published, preprint = search(Dblp(), title, client)
    assert published.title == title
    assert (published.venue, published.year, published.pages) == ("icml", 2023, "10323-10337")
    assert published.ids == {"pmlr": "v202/frantar23a"}
    assert (preprint.venue, preprint.ids) == (None, {"arxiv": "2301.00774"})


def test_removes_numbers_from_names(client: Client) -> None:
    title = "A Simple and Effective Pruning Approach for Large Language Models"
    (facts,) = search(Dblp(), title, client)
    assert facts.authors[1] == "Zhuang Liu"
    assert facts.ids == {"openreview": "PxoFut3dWW"}


def test_accepts_empty_result(client: Client) -> None:
    assert search(Dblp(), "nothing of the kind", client) == []


def test_query_has_no_punctuation(replay: Replay, client: Client) -> None:
    search(Dblp(), "Pruning|Quantization: a $ - b*?", client)
    assert "?q=pruning quantization a b&" in replay.requests[0].path
