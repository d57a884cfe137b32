"""`find_papers.py`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.sources.replay import UNREACHABLE, Replay, index, stored
from tests.tools.conftest import Ended, invoke
from tools.catalog.documents.diagnostics import CatalogError, Problem
from tools.catalog.schema.vocabulary import Words
from tools.discovery import listings
from tools.find_papers import app


@pytest.fixture
def offline(replay: Replay) -> Replay:
    """Sources that cannot be reached."""
    for host in index():
        replay.say(host, UNREACHABLE)
    return replay


def find(papers: Path, *options: object) -> Ended:
    return invoke(app, "--papers", papers, *options)


def test_prints_the_papers_of_a_list_that_the_catalog_lacks(
    offline: Replay, papers: Path, tmp_path: Path
) -> None:
    file = tmp_path / "list.md"
    file.write_text(
        "- [A New Pruner of LLMs](https://arxiv.org/abs/2601.00001v2), ICML 2026\n"
        "- [Other words here](https://arxiv.org/pdf/2312.11983)\n"
        "- A Declined Pruner of Tokens [pdf](https://mirror.org/1)\n"
        "- [2026.01] It's $(new); rm -rf\n"
    )
    paper = "- {title: A Declined Pruner of Tokens, ids: {arxiv: '2601.00003'}, reason: Tokens.}"
    (papers.parent / "declined.yaml").write_text(f"about: x\npapers:\n{paper}\n", encoding="utf-8")
    done = find(papers, "--list", file)
    assert done.code == 0
    command = "python tools/add_paper.py"
    assert done.out.splitlines() == [
        "## list.md",
        "",
        f"- [ ] A New Pruner of LLMs, ICML 2026: `{command} 2601.00001`",
        rf"""- [ ] It's \$(new); rm -rf, 2026-01: `{command} 'It'"'"'s $(new); rm -rf'`""",
    ]
    assert offline.requests == []


def test_a_list_without_papers_is_refused(papers: Path, tmp_path: Path) -> None:
    (tmp_path / "list.md").write_text("# Moved\n")
    assert "names no paper" in find(papers, "--list", tmp_path / "list.md").err


def test_names_sources_that_failed(offline: Replay, papers: Path) -> None:
    assert "## Not read\n\n- arXiv: export.arxiv.org cannot be reached" in find(papers).out


def test_nothing_new_prints_nothing(replay: Replay, papers: Path) -> None:
    replay.say("export.arxiv.org", stored("arxiv/empty.xml"))
    replay.say("raw.githubusercontent.com", stored("lists/horseee.md"))
    assert "Invented Channels Without Retraining" in find(papers).out
    paper = "- {title: Another Title, ids: {arxiv: '2610.00001'}, reason: Invented.}"
    (papers.parent / "declined.yaml").write_text(f"about: x\npapers:\n{paper}\n", encoding="utf-8")
    done = find(papers)
    assert (done.code, done.out, done.err) == (0, "", "no new papers\n")


def test_fails_if_no_source_can_be_read(offline: Replay, papers: Path) -> None:
    done = find(papers)
    assert done.code == 1
    assert done.err == "no source could be read\n"


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--since", "2999-01-01"], 2, "2999-01-01 is in the future"),
        (["--since", "last week"], 2, "last week"),
        (["--list", "absent.md"], 2, "absent.md"),
        (["--contact", "me"], 1, "the contact 'me' is not an e-mail address"),
    ],
)
def test_rejects_wrong_options(
    options: list[str], code: int, message: str, offline: Replay, papers: Path
) -> None:
    done = find(papers, *options)
    assert done.code == code
    assert message in done.err
    assert offline.requests == []


def test_reports_an_invalid_vocabulary(papers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def invalid() -> Mapping[str, Words]:
        raise CatalogError([Problem(Path("venues.yaml"), 3, "", "is not valid YAML")])

    monkeypatch.setattr(listings, "vocabulary", invalid)
    done = find(papers)
    assert (done.code, done.err) == (1, "venues.yaml:3: is not valid YAML\nFix this first.\n")


def test_rejects_an_invalid_file_of_declined_papers(offline: Replay, papers: Path) -> None:
    text = "about: x\npapers:\n- {title: A Title, ids: {}, reason: No identifier.}\n"
    (papers.parent / "declined.yaml").write_text(text, encoding="utf-8")
    done = find(papers)
    assert done.code == 1
    assert "declined.yaml:3: papers[0].ids: contains no identifier; add one" in done.err
    assert offline.requests == []
