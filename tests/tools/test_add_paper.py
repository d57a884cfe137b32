"""`add_paper.py`: an entry from the sources with TODO, and the changes of an entry."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.sources import replay as sources
from tests.tools.conftest import invoke
from tools import check_catalog
from tools.catalog.documents.yaml_reader import read
from tools.repository import REPOSITORY

Command = Callable[..., tuple[int, str, str]]

PMLR = "https://proceedings.mlr.press/v267"
NEURIPS = "https://papers.nips.cc/paper_files/paper/2024/file/c1c44e46358e0fb94dc94ec495a7fb1a"
CVF = "https://openaccess.thecvf.com/content/CVPR2023/html/Fang_DepGraph_Towards_Any_Structural"
SUMMARY = (
    "Prunes every linear layer by a sparse least-squares solve, column by column, and moves each "
    "error onto the columns still to come, with one inverse Hessian that serves all of its rows. "
    "Use it for 2:4."
)
JUDGED = {
    "kind: TODO": "kind: method",
    "tagline: TODO": "tagline: Solves for the weights of each layer, column by column.",
    ">-\n  TODO": SUMMARY,
    "granularity: [TODO]": "granularity: [unstructured]",
    "criterion: [TODO]": "criterion: [layer-hessian]",
    "calibration: TODO": "calibration: forward",
    "read: TODO": "read: paper",
}


@pytest.mark.parametrize(
    ("what", "slug", "ids", "title"),
    [
        ("2301.00774", "sparsegpt", {"arxiv": "2301.00774"}, "SparseGPT: Massive"),
        ("cs/0601001", "zubiaga2009getting", {"arxiv": "cs/0601001"}, ""),
        ("https://openreview.net/forum?id=PxoFut3dWW", None, {"arxiv": "2306.11695"}, "A Simple"),
        ("2024.findings-acl.178", "loraprune", {"anthology": "2024.findings-acl.178"}, "LoRAPrune"),
        (f"{PMLR}/guo25a/guo25a.pdf", "slimllm", {"pmlr": "v267/guo25a"}, "SlimLLM"),
        (f"{NEURIPS}-Paper-Conference.pdf", "slimgpt", {"arxiv": "2412.18110"}, "SlimGPT"),
        (f"{CVF}_Pruning_CVPR_2023_paper.html", "depgraph", {}, "DepGraph"),
    ],
)
def test_adds_a_paper_by_its_identifier(
    add: Command, papers: Path, what: str, slug: str | None, ids: dict[str, str], title: str
) -> None:
    before = {*papers.iterdir()}
    code, out, err = add(what)
    assert code == 0, err
    (path,) = {*papers.iterdir()} - before
    assert title == "" or slug is None or path.stem == slug
    data = read(path).data
    assert data["title"].startswith(title)
    assert ids.items() <= data.get("ids", {}).items()
    assert (data["kind"], data["taxonomy"]["criterion"]) == ("TODO", ["TODO"])
    assert out.startswith(f"Written: {path}. Replace each TODO")


def test_the_entry_is_valid_once_a_person_has_replaced_each_todo(
    add: Command, papers: Path
) -> None:
    assert add("2301.00774")[0] == 0
    path = papers / "sparsegpt.yaml"
    text = path.read_text(encoding="utf-8")
    todo = invoke(check_catalog.app, path, "--papers", papers)
    assert todo.code == 1
    named = re.findall(r":(\d+): (\S+): is TODO; write", todo.out)
    assert len(named) == text.count("TODO") == len(JUDGED)
    for number, field in named:
        name = re.split(r"[.\[]", field)[-1 if "[" not in field else -2]
        assert f"{name}:" in text.splitlines()[int(number) - 1]
    assert "kind: is TODO; write: " in todo.out
    for before, after in JUDGED.items():
        assert text.count(before) == 1
        text = text.replace(before, after)
    path.write_text(text, encoding="utf-8")
    invoke(check_catalog.app, path, "--fix", "--papers", papers)
    done = invoke(check_catalog.app, path, "--papers", papers)
    assert done.code == 0, done.out
    data = read(path).data
    assert (data["venue"], data["year"], data["status"]) == ("icml", "2023", "published")
    assert data["sources"]["from"] == ["arXiv", "PMLR"]
    assert "the entry agrees with its sources" in add("--refresh", "sparsegpt")[1]
    marks = papers.parent / "abstracts" / "sparsegpt.txt"
    assert len(marks.read_text(encoding="ascii").split()) > 10


def test_dry_run_prints_the_entry(add: Command, papers: Path) -> None:
    before = sorted(papers.iterdir())
    code, out, _ = add("2301.00774", "--dry-run")
    assert (code, sorted(papers.iterdir())) == (0, before)
    assert add("2301.00774")[0] == 0
    assert out == (papers / "sparsegpt.yaml").read_text(encoding="utf-8")


def test_runs_as_a_script() -> None:
    command = [sys.executable, "tools/add_paper.py", "https://github.com/a/b"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "a repository does not identify a paper" in done.stderr


def test_shows_disagreements_of_sources(add: Command, replay: sources.Replay) -> None:
    page = sources.stored("anthology/shortgpt.bib").body
    replay.say("aclanthology.org", sources.Answer(page.replace(b"Redundant", b"Replaceable")))
    code, _, err = add("2403.03853")
    assert code == 0
    assert re.search(r"Sources disagree:\n  - title: arXiv has .*Redundant.*Replaceable", err)


def test_other_sources_may_fail(add: Command, replay: sources.Replay, papers: Path) -> None:
    replay.refuse(*(set(sources.index()) - {"export.arxiv.org"}))
    code, _, err = add("2301.00774", "--slug", "mine")
    assert code == 0
    assert "Notes:\n" in err
    data = read(papers / "mine.yaml").data
    assert (data["status"], data["sources"]["from"]) == ("preprint", ["arXiv"])


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["https://arxiv.org/abs/2312.11983v3"], 1, "already has this paper as flap (has the same"),
        (["2301.00774", "--slug", "flap"], 1, "flap.yaml exists already and was not changed"),
        (["2301.00774", "--slug", "No Slug"], 2, "lower-case letters and digits"),
        ([], 2, "give a paper, or an entry with --refresh"),
        (["2301.00774", "--contact", "me"], 1, "the contact 'me' is not an e-mail address"),
        (
            ["A Simple and Effective Pruning Approach for Large Language Models"],
            1,
            "a title alone does not identify a paper; give its identifier",
        ),
    ],
)
def test_refuses(add: Command, papers: Path, arguments: list[str], code: int, message: str) -> None:
    before = {path: path.read_bytes() for path in papers.iterdir()}
    done = add(*arguments)
    assert (done[0], message in done[2]) == (code, True), done
    assert {path: path.read_bytes() for path in papers.iterdir()} == before


def test_a_similar_title_needs_force(add: Command, papers: Path) -> None:
    entry = papers / "flap.yaml"
    page = "links: {paper: https://example.org/}\n"
    entry.write_text(re.sub(r"(?ms)^ids:.*?(?=^code:)", page, entry.read_text()))
    code, _, err = add("2312.11983", "--slug", "another")
    assert code == 1
    assert "as flap (has the same title, 'Fluctuation" in err
    assert add("2312.11983", "--slug", "another", "--force")[0] == 0


def test_without_network_says_what_to_do(add: Command, replay: sources.Replay) -> None:
    replay.say("export.arxiv.org", sources.UNREACHABLE)
    code, _, err = add("2301.00774")
    assert code == 1
    assert re.fullmatch(
        r"export\.arxiv\.org cannot be reached .* or write the entry by hand.*\n", err
    )


PREPRINT = """\
# yaml-language-server: $schema=../schema.json
title: "SparseGPT: Massive Language Models Can Be Accurately Pruned in One-Shot"
authors: [Elias Frantár, Dan Alistarh]
kind: method
tagline: Solves for the weights of each layer.
summary: >-
  Prunes every linear layer by a sparse least-squares solve, column by column,
  and moves each error onto the columns still to come. Use it for 2:4.

year: 2023
status: preprint
submitted: 2023-01-02
added: 2023-02-01

ids:
  arxiv: "2301.00774"
code:
  - url: https://github.com/IST-DASLab/sparsegpt
    official: true

taxonomy:
  granularity: [unstructured, semi-structured]
  criterion: [layer-hessian]
  calibration: forward

sources:
  checked: 2023-02-01
  read: paper
  from: [arXiv abstract page]
"""


def test_refresh_shows_what_the_sources_say_now(add: Command, papers: Path) -> None:
    entry = papers / "sparse.yaml"
    entry.write_text(PREPRINT, encoding="utf-8")
    code, out, err = add("--refresh", "sparse")
    assert code == 0, err
    assert entry.read_text(encoding="utf-8") == PREPRINT
    lines = out.splitlines()
    for line in (
        "-status: preprint",
        "+status: published",
        "+venue: icml",
        "+pages: 10323-10337",
        "+  pmlr: v202/frantar23a",
        "-authors: [Elias Frantár, Dan Alistarh]",
        "+authors: [Elias Frantar, Dan Alistarh]",
    ):
        assert line in lines
    assert not [line for line in lines if line.startswith("-") and "summary" in line]


@pytest.mark.parametrize(
    ("slug", "message"),
    [
        ("flab", "the catalog has no valid entry flab; did you mean flap?"),
        ("nowhere", "nowhere has no identifier of a known source"),
    ],
)
def test_refresh_refuses(add: Command, papers: Path, slug: str, message: str) -> None:
    page = "links: {paper: https://example.org/paper}"
    nowhere = PREPRINT.replace('ids:\n  arxiv: "2301.00774"', page)
    (papers / "nowhere.yaml").write_text(nowhere, encoding="utf-8")
    code, _, err = add("--refresh", slug)
    assert (code, message in err) == (1, True), err
