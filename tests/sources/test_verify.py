"""Comparison of entries with their sources."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.sources.replay import Answer, Replay, stored
from tools.catalog.documents.diagnostics import Level, Problem
from tools.catalog.documents.yaml_reader import Document
from tools.catalog.entries.loader import Entry
from tools.catalog.schema.paper import Paper
from tools.sources.client import Client
from tools.sources.verify import verify

SHORTGPT = {
    "title": "ShortGPT: Layers in Large Language Models are More Redundant Than You Expect",
    "authors": [
        "Xin Men",
        "Mingyu Xu",
        "Qingyu Zhang",
        "Qianhao Yuan",
        "Bingning Wang",
        "Hongyu Lin",
        "Yaojie Lu",
        "Xianpei Han",
        "Weipeng Chen",
    ],
    "kind": "method",
    "summary": "Removes whole layers.",
    "venue": "acl-findings",
    "track": "findings",
    "year": 2025,
    "status": "published",
    "pages": "20192-20204",
    "submitted": "2024-03-06",
    "published": "2025-07",
    "added": "2026-11-25",
    "ids": {
        "arxiv": "2403.03853",
        "doi": "10.18653/v1/2025.findings-acl.1035",
        "anthology": "2025.findings-acl.1035",
    },
    "sources": {"checked": "2026-11-25", "from": ["ACL Anthology"]},
}
FLAP = {
    **SHORTGPT,
    "title": "Fluctuation-Based Adaptive Structured Pruning for Large Language Models",
    "authors": ["Yongqi An", "Xu Zhao", "Tao Yu", "Ming Tang", "Jinqiao Wang"],
    "venue": "aaai",
    "track": "main",
    "year": 2024,
    "volume": "38",
    "number": "10",
    "pages": "10865-10873",
    "submitted": "2023-12-19",
    "published": "2024-03",
    "ids": {"arxiv": "2312.11983", "doi": "10.1609/aaai.v38i10.28960"},
}
WANDA = {
    **{name: value for name, value in SHORTGPT.items() if name not in ("pages", "published")},
    "title": "A Simple and Effective Pruning Approach for Large Language Models",
    "authors": ["Mingjie Sun", "Zhuang Liu", "Anna Bair", "J. Zico Kolter"],
    "venue": "iclr",
    "track": "main",
    "year": 2024,
    "submitted": "2023-06",
    "ids": {"arxiv": "2306.11695", "openreview": "PxoFut3dWW"},
}
SLIMLLM = {
    **{name: value for name, value in WANDA.items() if name != "submitted"},
    "title": "SlimLLM: Accurate Structured Pruning for Large Language Models",
    "authors": ["Jialong Guo", "Xinghao Chen", "Yehui Tang", "Yunhe Wang"],
    "venue": "icml",
    "year": 2025,
    "ids": {"pmlr": "v267/guo25a", "ieee": "12345678"},
}


def of(entry: dict[str, object], client: Client, **changes: object) -> list[Problem]:
    fields = {name: value for name, value in (entry | changes).items() if value is not None}
    return list(verify(Entry("x", Paper.model_validate(fields), Document(Path("x.yaml"))), client))


@pytest.mark.parametrize("entry", [SHORTGPT, FLAP, WANDA, SLIMLLM])
def test_accepts_correct_entries(entry: dict[str, object], client: Client) -> None:
    assert of(entry, client) == []


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"title": "On the Migration of Birds"}, "title", "arXiv has 'Fluctuation-based"),
        ({"authors": ["Yongqi An"]}, "authors", "arXiv has 5: Yongqi An, Xu Zhao, Tao Yu"),
        ({"authors": FLAP["authors"][::-1]}, "authors", "arXiv has 5: Yongqi An"),
        ({"submitted": "2023-12-20"}, "submitted", "arXiv has 2023-12-19"),
        ({"submitted": "2022"}, "submitted", "arXiv has 2023-12-19"),
        ({"published": "2024-04"}, "published", "the sources have 2024-03-24"),
        ({"venue": "icml"}, "venue", "Crossref has aaai 2024"),
        ({"year": 2023}, "year", "Crossref has aaai 2024"),
        ({"volume": "39"}, "volume", "Crossref has 38"),
        ({"number": "11"}, "number", "Crossref has 10"),
        ({"pages": "10865-10874"}, "pages", "Crossref has 10865-10873"),
    ],
)
def test_contradiction_is_an_error(
    changes: dict[str, object], field: str, message: str, client: Client
) -> None:
    found = [each for each in of(FLAP, client, **changes) if each.field == field]
    assert found
    assert all(each.level is Level.ERROR for each in found)
    assert found[0].message.startswith(message)


def test_accepts_any_version_of_a_paper(client: Client) -> None:
    """arXiv has one author fewer; both lists are accepted, a third one is not."""
    authors = [name for name in SHORTGPT["authors"] if name != "Qianhao Yuan"]
    assert of(SHORTGPT, client, authors=authors) == []
    (found,) = of(SHORTGPT, client, authors=authors[1:])
    assert found.field == "authors"


def test_accepts_other_titles(client: Client) -> None:
    changes = {"title": "Depth Pruning", "other_titles": [SHORTGPT["title"]]}
    assert of(SHORTGPT, client, **changes) == []


def test_published_preprint_is_a_warning(client: Client) -> None:
    gone = dict.fromkeys(("venue", "track", "volume", "number", "pages", "published"))
    (found,) = of(FLAP, client, **gone, status="preprint", year=2023)
    assert (found.field, found.level) == ("venue", Level.WARNING)
    assert found.message == "Crossref has aaai 2024: the preprint has been published"


PREPRINT = {
    **{name: value for name, value in WANDA.items() if name not in ("venue", "track")},
    "status": "preprint",
    "year": 2023,
    "submitted": "2023-06-20",
    "ids": {"arxiv": "2306.11695"},
}


def test_searches_the_venue_of_preprints_by_title(client: Client) -> None:
    """arXiv alone does not know where a paper was published."""
    found = of(PREPRINT, client)
    (venue,) = [problem for problem in found if problem.field == "venue"]
    assert venue.level is Level.WARNING
    assert re.fullmatch(r"\w+ has iclr 2024.*: the preprint has been published", venue.message)


def test_asks_for_an_identifier_once(client: Client, replay: Replay) -> None:
    of(PREPRINT, client)
    hosts = [request.host for request in replay.requests]
    assert hosts.count("export.arxiv.org") == 1


def test_new_code_of_preprints_is_a_warning(client: Client) -> None:
    code = "https://github.com/locuslab/wanda"
    found = of(PREPRINT, client)
    (named,) = [problem for problem in found if problem.field == "code"]
    assert named.level is Level.WARNING
    assert named.message == f"arXiv names {code}, and the entry has no code"
    known = of(PREPRINT, client, code=[{"url": "https://github.com/x/y", "official": False}])
    assert [problem.field for problem in known] == ["venue"]
    assert of(WANDA, client) == []


@pytest.mark.parametrize(
    ("answer", "level", "message"),
    [
        (Answer(status=503), Level.WARNING, "api.crossref.org reports a server error (HTTP 503)"),
        (Answer(status=404), Level.ERROR, "(HTTP 404)"),
        (stored("crossref/ast.json"), Level.ERROR, "answered about 10.1609/aaai.v39i23.34592"),
    ],
)
def test_dead_source_is_a_warning_and_dead_identifier_an_error(
    answer: Answer, level: Level, message: str, replay: Replay, client: Client
) -> None:
    replay.say("api.crossref.org", answer)
    (found,) = of(FLAP, client)
    assert (found.field, found.level) == ("ids.doi", level)
    assert message in found.message
    assert "--manual" not in found.message
