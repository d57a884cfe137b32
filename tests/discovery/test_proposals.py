"""Proposals from the replayed sources."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path

import pytest

from tests.sources.replay import DATA, UNREACHABLE, Answer, Replay, feed, stored
from tools.catalog.entries.declined import DeclinedPaper
from tools.catalog.entries.loader import PAPERS, load_catalog
from tools.discovery.list_parser import Link
from tools.discovery.listings import VENUE_TERMS, VENUES, Candidate, listings
from tools.discovery.proposals import Proposals, checklist, find_new, markdown
from tools.sources.client import Client

DECLINED = DeclinedPaper.model_validate(
    {
        "title": "KS-Lottery: Finding Certified Lottery Tickets for Multilingual Language Models",
        "ids": {"arxiv": "2402.02801"},
        "reason": "Removes nothing.",
    }
)
PLACES = len(VENUES)


@pytest.fixture
def papers(tmp_path: Path) -> Path:
    """A catalog of one paper."""
    shutil.copy(PAPERS / "flap.yaml", tmp_path)
    return tmp_path


@pytest.fixture
def replay(monkeypatch: pytest.MonkeyPatch) -> Replay:
    made = Replay(monkeypatch)
    made.say("export.arxiv.org", stored("arxiv/newest1.xml"), stored("arxiv/newest2.xml"))
    made.say("api2.openreview.net", stored("openreview/venues.json"))
    return made


def found(papers: Path, since: date = date(2026, 10, 1)) -> Proposals:
    with Client(None) as client:
        sources = listings(since, date(2026, 11, 29))
        return find_new(sources, client, load_catalog(papers), [DECLINED])


def lines(found: Proposals) -> list[str]:
    return [line for line in checklist(found) if line]


def test_proposes_new_papers_once_with_their_command(replay: Replay, papers: Path) -> None:
    ask = "`python tools/add_paper.py"
    assert lines(found(papers)) == [
        "## arXiv",
        "- [ ] Invented Rows: Structured Pruning of Large Language Models, Ada Example, "
        f"2026-11-20: {ask} 2611.00001`",
        "- [ ] Pruning with Braces and α Markup in LLMs, Emmy Example, "
        f"2026-11-02: {ask} 2611.00005`",
        "- [ ] Invented Widths of Transformers, Ada Example, 2026-11-01: " + f"{ask} 2611.00006`",
        "## OpenReview",
        "- [ ] Invented Experts: Pruning Mixture-of-Experts LLMs, Emmy Example, ICLR 2026: "
        f"{ask} 'https://openreview.net/forum?id=accepted01'`",
        "- [ ] Invented Norms for Pruning Language Models, Emmy Example, COLM 2026: "
        f"{ask} 'https://openreview.net/forum?id=accepted04'`",
        "- [ ] Invented Pruning of Language Models in a Journal, Emmy Example, TMLR 2026: "
        f"{ask} 'https://openreview.net/forum?id=journal001'`",
        "## Awesome-Efficient-LLM",
        f"- [ ] Invented Channels Without Retraining: {ask} 2610.00001`",
        "## Awesome-LLM-Compression",
        "- [ ] Invented Neurons That Stay Silent, NeurIPS 2026: "
        f"{ask} 'https://openreview.net/pdf?id=neurons001'`",
        "## awesome-pruning",
        f"- [ ] Invented Layers at the End, 2026: {ask} 2610.00004`",
        "## Awesome-LLMs-Pruning",
        "- [ ] Invented Sublayers of Transformers: "
        f"{ask} 'https://openreview.net/forum?id=sublayers1'`",
        "## Awesome-LLM-Prune",
        f"- [ ] Invented Masks: Semi-structured Pruning of LLMs, ICML 2026: {ask} 2610.00005`",
        "## Awesome-LLM-Pruning",
        "- [ ] Invented Heads and What They Do, EMNLP 2026 Findings: "
        f"{ask} https://aclanthology.org/2026.findings-emnlp.1.pdf`",
    ]


def test_asks_for_pages_newest_first_until_the_date(replay: Replay, papers: Path) -> None:
    found(papers)
    asked = [each.path for each in replay.requests if each.host == "export.arxiv.org"]
    assert [path.partition("&sortBy=submittedDate&sortOrder=descending&")[2] for path in asked] == [
        "start=0&max_results=100",
        "start=100&max_results=100",
    ]
    assert '(ti:"pruning" OR abs:"pruning" OR ' in asked[0]
    assert ') AND (ti:"language model" OR abs:"language model" OR' in asked[0]
    assert max(replay.slept) == pytest.approx(3, abs=0.5)


def test_searches_each_venue_of_each_year(replay: Replay, papers: Path) -> None:
    found(papers, date(2025, 12, 1))
    asked = [each.path for each in replay.requests if each.host == "api2.openreview.net"]
    assert len(asked) == len(set(asked)) + len(VENUE_TERMS)  # the id of TMLR has no year
    assert len(asked) == 2 * PLACES * len(VENUE_TERMS)
    assert any("term=pruning&content=all&group=ICLR.cc/2025/Conference&" in path for path in asked)


def test_arxiv_is_read_to_the_end_or_fails(replay: Replay, papers: Path) -> None:
    """arXiv sometimes sends an empty page although more papers follow."""
    whole = (DATA / "arxiv" / "newest2.xml").read_text(encoding="utf-8").replace("2608.", "2611.")
    whole = whole.replace("2026-08-30", "2026-10-30")
    replay.say("export.arxiv.org", stored("arxiv/newest1.xml"), Answer(whole.encode()))
    every = found(papers)
    assert not every.failures
    assert every.new["arXiv"][-1].title == "Pruning of Large Language Models Before the Date"
    nothing = feed(**{"<entry>": "<!--", "</entry>": "-->", ">1</o": ">106</o"})
    replay.say("export.arxiv.org", stored("arxiv/newest1.xml"), nothing)
    stopped = found(papers)
    assert "arXiv sent none of the papers from number 101 on" in next(iter(stopped.failures))
    assert [paper.date for paper in stopped.new["arXiv"]] == ["2026-11-20"]


def test_names_failed_sources_and_shows_the_others(replay: Replay, papers: Path) -> None:
    replay.say("api2.openreview.net", UNREACHABLE)
    replay.say("raw.githubusercontent.com", stored("lists/horseee.md"), Answer(status=404))
    shown = lines(found(papers))
    assert [line for line in shown if line.startswith("#")] == [
        *("## arXiv", "## Awesome-Efficient-LLM", "## Not read"),
    ]
    down = shown[shown.index("## Not read") + 1 :]
    assert len(down) == 1 + 5
    assert down[0].startswith("- OpenReview (ICLR 2026), OpenReview (ICML 2026), ")
    assert down[0].endswith("api2.openreview.net cannot be reached (refused); check the network")
    assert down[1].startswith("- Awesome-LLM-Compression: raw.githubusercontent.com has no /Huang")


def test_empty_list_is_a_failure(replay: Replay, papers: Path) -> None:
    """A list that was moved may leave a page that is not a list."""
    replay.say("raw.githubusercontent.com", Answer(b"# Moved\n"))
    assert "pruning.md has no line that names a paper" in " ".join(found(papers).failures)


def test_untrusted_titles_are_inert_on_github() -> None:
    text = "[a](https://e.org) <img> @user #1 `x` **b** $y$ \u202e"
    shown = markdown(text)
    assert "@user" not in shown
    assert "#1" not in shown
    assert "://" not in shown.replace("://\N{WORD JOINER}", "")
    assert shown.startswith(r"\[a\](https")
    assert r"\<img\>" in shown
    assert r"\`x\` \*\*b\*\* \$y\$ \\u202e" in shown.replace(r"\\\u202e", r"\\u202e")


def test_a_title_cannot_leave_the_code_of_its_command() -> None:
    one = Candidate("Pruning `of` LLMs'; rm -rf x", (Link("", "https://e.org/x"),))
    (_, _, line, _) = checklist(Proposals({"List": [one]}))
    assert line.count("`") == line.count(r"\`") + 2
    assert line.endswith("""`python tools/add_paper.py 'Pruning of LLMs'"'"'; rm -rf x'`""")
