"""`check_catalog.py`."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.catalog.invented import Change, changed, copy_atlas
from tests.sources.replay import Replay
from tests.tools.conftest import Ended, invoke
from tools import check_catalog
from tools.catalog.documents.diagnostics import Level, Problem
from tools.catalog.entries.loader import PAPERS
from tools.repository import REPOSITORY

Run = Callable[..., Ended]


@pytest.fixture
def papers(tmp_path: Path) -> Path:
    """The folder of the invented catalog's entries."""
    return copy_atlas(tmp_path / "atlas")


@pytest.fixture
def change(papers: Path) -> Change:
    """Replace texts in an entry."""
    return lambda slug, *changes: changed(papers / f"{slug}.yaml", *changes)


@pytest.fixture
def command(papers: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command on the invented catalog, from another folder."""

    monkeypatch.chdir(papers.parents[2])
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *options: invoke(check_catalog.app, "--papers", papers, *options)


def test_valid_catalog_prints_one_line(command: Run) -> None:
    done = command()
    assert (done.code, done.err) == (0, "")
    assert done.out == "2 entries checked: no problems\n"


def test_warnings_do_not_fail(command: Run, change: Change) -> None:
    change("brook", ("status: preprint\n", "status: preprint\nsubmitted: 2023-06-01\n"))
    done = command()
    assert done.code == 0
    assert "brook.yaml:11: warning: submitted: 2023-06-01 is long before" in done.out
    assert "1 warning" in done.out


def test_reports_only_named_files(command: Run, change: Change, papers: Path) -> None:
    change("brook", ("kind: baseline", "kind: baselin"))
    change("river", ("kind: method", "kind: meth"))
    done = command(papers / "brook.yaml")
    assert done.code == 1
    assert len(done.out.splitlines()) == 2
    assert done.out.startswith(f"{papers}/brook.yaml:4: kind: 'baselin' is not a term")
    assert done.out.endswith("1 entry checked: 1 error\n")


@pytest.mark.parametrize("how", [["--github"], []])
def test_annotations_have_file_and_line(
    command: Run, change: Change, papers: Path, how: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    change("brook", ("kind: baseline", "kind: baselin"))
    if not how:
        monkeypatch.setenv("GITHUB_ACTIONS", "true")
    done = command(*how)
    assert done.code == 1
    assert done.out.splitlines() == [
        f"::error file={papers}/brook.yaml,line=4,title=kind::'baselin' is not a term of"
        " vocabulary/kind.yaml; did you mean baseline?",
        "2 entries checked: 1 error",
    ]


def test_escapes_terminal_and_github_commands() -> None:
    entry = Path("catalog/papers/river.yaml")
    nasty = Problem(entry, 3, "title", "holds '100 %:\n\x1b[31m,\u202e'", "remove it")
    said = "holds '100 %:\\n\\x1b[31m,\\u202e'; remove it"
    assert check_catalog.as_text([nasty]) == [f"{entry}:3: title: {said}"]
    odd = Problem(Path("a,b.yaml"), 1, "", "a:b", level=Level.WARNING)
    assert check_catalog.as_annotations([nasty, odd]) == [
        f"::error file={entry},line=3,title=title::{said.replace('%', '%25')}",
        "::warning file=a%2Cb.yaml,line=1,title=entry::a:b",
    ]


def test_online_compares_entries_with_their_sources(
    command: Run, replay: Replay, papers: Path
) -> None:
    title = "Fluctuation-Based Adaptive Structured Pruning for Large Language Models"
    text = (PAPERS / "flap.yaml").read_text(encoding="utf-8").replace(title, "Another Subject", 1)
    (papers / "flap.yaml").write_text(text, encoding="utf-8")
    done = command("--online", papers / "flap.yaml")
    assert done.code == 1
    assert "flap.yaml:2: title: arXiv has 'Fluctuation-based" in done.out


def test_weekly_report_has_published_preprints(command: Run, replay: Replay, papers: Path) -> None:
    text = (PAPERS / "flap.yaml").read_text(encoding="utf-8")
    text = re.sub(r"(?m)^(venue|track|volume|number|pages|published): .*\n", "", text)
    text = text.replace("status: published", "status: preprint").replace("year: 2024", "year: 2023")
    (papers / "flap.yaml").write_text(text, encoding="utf-8")
    done = command("--online", papers / "flap.yaml")
    workflow = (REPOSITORY / ".github" / "workflows" / "weekly.yml").read_text(encoding="utf-8")
    (pattern,) = re.findall(r"grep -qE '(.+)' facts\.txt", workflow)
    assert "the preprint has been published" in done.out
    assert re.search(pattern, done.out)


def test_fix_corrects_layout_spaces_and_identifiers(
    command: Run, change: Change, papers: Path
) -> None:
    good = (papers / "brook.yaml").read_text(encoding="utf-8")
    change(
        "brook",
        ("authors: [Emmy Noether]", "authors:\n- Emmy   Noether\n"),
        ('arxiv: "2312.00001"', "arxiv: https://arxiv.org/abs/2312.00001v2"),
        ("year: 2023\nstatus: preprint\n", "status: preprint\nyear: 2023\n"),
    )
    assert command().code == 1
    done = command("--fix")
    assert done.code == 0
    assert done.out == "2 entries checked: no problems\n"
    assert done.err == f"fixed {papers}/brook.yaml\n"
    assert (papers / "brook.yaml").read_text(encoding="utf-8") == good
    assert command("--fix").err == ""


def test_fix_leaves_other_and_invalid_files(command: Run, change: Change, papers: Path) -> None:
    river = change("river", ("year: 2024", "year:   2024")).read_bytes()
    brook = change("brook", ("kind: baseline", "kind: [")).read_bytes()
    assert command("--fix", papers / "brook.yaml").code == 1
    assert (papers / "river.yaml").read_bytes() == river
    assert (papers / "brook.yaml").read_bytes() == brook


def test_fix_keeps_files_with_comments(command: Run, change: Change, papers: Path) -> None:
    path = change("brook", ("year: 2023", "year:   2023  # of arXiv"))
    before = path.read_bytes()
    done = command("--fix")
    assert done.code == 1
    assert done.out.splitlines()[0] == (
        f"{path}:9: contains a comment, '# of arXiv'; move it to a field, such as `notes`"
    )
    assert done.out.count("\n") == 2
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Bad-Name.yaml", "is not a valid file name; name it <slug>.yaml"),
        ("entry.yml", "is not a valid file name; name it <slug>.yaml"),
        ("7days.yaml", "is not a valid file name"),
        (".hidden.yaml", None),
    ],
)
def test_rejects_invalid_file_names(
    command: Run, papers: Path, name: str, message: str | None
) -> None:
    (papers / name).write_text("title: a\n")
    done = command()
    assert done.code == bool(message)
    assert not message or f"{name}:1: {message}" in done.out


@pytest.mark.parametrize(
    ("options", "message"),
    [(["absent.yaml"], "absent.yaml"), (["--papers", "absent"], "absent"), (["--fixx"], "--fix")],
)
def test_wrong_usage_is_reported(command: Run, options: list[Any], message: str) -> None:
    done = command(*options)
    assert done.code == 2
    assert message in done.err
