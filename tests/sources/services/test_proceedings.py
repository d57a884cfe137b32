"""Proceedings sites."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.sources.replay import Answer, Replay, stored
from tools.catalog.schema.identifiers import check_address
from tools.sources import errors
from tools.sources.client import Client
from tools.sources.lookup.identification import identify
from tools.sources.lookup.queries import fetch
from tools.sources.names.references import Reference

Said = Callable[[str, dict[str, object]], dict[str, object]]

LLM_PRUNER = "44956951349095f74492a5471128a7e0"
SLIMGPT = "c1c44e46358e0fb94dc94ec495a7fb1a"
CVF = "https://openaccess.thecvf.com/content"
FPGM = "Filter_Pruning_via_Geometric_Median_for_Deep_Convolutional_Neural_Networks"

SAID = {
    "https://proceedings.mlr.press/v202/frantar23a.html": {
        "source": "PMLR",
        "title": "SparseGPT: Massive Language Models Can be Accurately Pruned in One-Shot",
        "authors": ("Elias Frantar", "Dan Alistarh"),
        "published": "2023-07-03",
        "year": 2023,
        "venue": "icml",
        "track": "main",
        "volume": "202",
        "pages": "10323-10337",
        "ids": {"pmlr": "v202/frantar23a"},
    },
    "https://proceedings.mlr.press/v267/guo25a/guo25a.pdf": {
        "pages": "20766-20776",
        "volume": "267",
    },
    f"http://papers.nips.cc/paper_files/paper/2023/hash/{LLM_PRUNER}-Abstract-Conference.html": {
        "source": "NeurIPS proceedings",
        "authors": ("Xinyin Ma", "Gongfan Fang", "Xinchao Wang"),
        "venue": "neurips",
        "year": 2023,
        "volume": "36",
        "ids": {},
        "links": {
            "venue": "https://proceedings.neurips.cc/paper_files/paper/2023/hash/"
            f"{LLM_PRUNER}-Abstract-Conference.html"
        },
    },
    # The tags date this conference in December to the next year.
    f"https://proceedings.neurips.cc/paper_files/paper/2024/file/{SLIMGPT}-Paper-Conference.pdf": {
        "year": 2024,
        "pages": "107112-107137",
        "published": "2025-01-10",
    },
    f"{CVF}/CVPR2023/papers/Fang_DepGraph_Towards_Any_Structural_Pruning_CVPR_2023_paper.pdf": {
        "source": "CVF open access",
        "title": "DepGraph: Towards Any Structural Pruning",
        "venue": "cvpr",
        "year": 2023,
        "pages": "16091-16101",
    },
    f"{CVF}_CVPR_2019/html/He_{FPGM}_CVPR_2019_paper.html": {"year": 2019, "pages": "4340-4349"},
}


@pytest.mark.parametrize(("text", "expected"), SAID.items())
def test_parses_facts(text: str, expected: dict[str, object], said: Said) -> None:
    assert said(text, expected) == expected


PAGES = {
    "proceedings.mlr.press": ("pmlr", "v202/frantar23a", "pmlr/slimllm.html"),
    "proceedings.neurips.cc": (
        "neurips",
        f"2023/hash/{LLM_PRUNER}-Abstract-Conference.html",
        "neurips/slimgpt.html",
    ),
    "openaccess.thecvf.com": ("cvf", "content/CVPR2023/html/Fang_X_paper.html", "cvf/fpgm.html"),
}


@pytest.mark.parametrize("host", PAGES)
class TestOddAnswers:
    def test_rejects_answer_about_another_paper(
        self, host: str, replay: Replay, client: Client
    ) -> None:
        scheme, value, other = PAGES[host]
        replay.say(host, stored(other))
        with pytest.raises(errors.AnotherPaper, match=rf"{host} was asked for .* answered about"):
            fetch(Reference(scheme, value), client)

    def test_rejects_page_without_tags(self, host: str, replay: Replay, client: Client) -> None:
        scheme, value, _ = PAGES[host]
        replay.say(host, Answer(b"<title>Moved</title><meta name=citation_title>"))
        with pytest.raises(errors.Malformed, match="it has no citation tags"):
            fetch(Reference(scheme, value), client)

    def test_accepts_pages_with_few_tags(self, host: str, replay: Replay, client: Client) -> None:
        scheme, value, _ = PAGES[host]
        head = b"<meta name='citation_title' content='A &amp; B'/><meta name='citation_date'>"
        replay.say(host, Answer(head))
        facts = fetch(Reference(scheme, value), client)
        assert (facts.title, facts.authors, facts.venue, facts.pages) == ("A & B", (), None, None)


def test_cvf_addresses_are_valid_in_entries(replay: Replay, client: Client) -> None:
    found = identify(
        "https://openaccess.thecvf.com/content/CVPR2023/papers/Li_What's_New_paper.pdf"
    )
    replay.say("openaccess.thecvf.com", Answer(b"<meta name=citation_title content=T>"))
    link = fetch(found, client).links["venue"]
    assert check_address(link) == link
    assert link.endswith("/content/CVPR2023/html/Li_What%27s_New_paper.html")
