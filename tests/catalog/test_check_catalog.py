"""The command as people and machines run it; and broken entries with what each is told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tools.catalog.checks import check
from tools.catalog.entries import read_catalog
from tools.catalog.problems import Level, Problem
from tools.catalog.reader import read
from tools.checking.fixing import fix
from tools.checking.online import location
from tools.checking.output import as_annotations, as_json, as_text, summary

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = Path(__file__).parent / "data"
BROKEN = sorted((DATA / "broken").glob("*.yaml"))
ENTRY = Path("catalog/papers/river.yaml")
NASTY = Problem(ENTRY, 3, "title", "holds '100 %:\n\x1b[31m,\u202e'", "remove it")

Run = Callable[..., subprocess.CompletedProcess[str]]
Change = Callable[..., Path]


@pytest.fixture
def command(papers: Path) -> Run:
    """Run the command on the invented catalog, from another folder."""

    def run(*options: object, **variables: str) -> subprocess.CompletedProcess[str]:
        script = REPOSITORY / "tools" / "check_catalog.py"
        plain = {name: value for name, value in os.environ.items() if name != "GITHUB_ACTIONS"}
        return subprocess.run(
            [sys.executable, str(script), "--papers", str(papers), *map(str, options)],
            cwd=papers.parents[2],
            capture_output=True,
            text=True,
            env=plain | {"COLUMNS": "200"} | variables,
        )

    return run


def test_there_are_twenty_broken_entries_and_more() -> None:
    assert len(BROKEN) >= 20
    told = [path.with_suffix(".txt").read_text(encoding="utf-8") for path in BROKEN]
    assert sum(text.count("\n") > 2 for text in told) >= 15, "with several errors in a file"


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.stem)
def test_a_broken_entry_is_told_all_that_is_wrong(path: Path) -> None:
    catalog = read_catalog(DATA / "atlas" / "catalog" / "papers", [path])
    problems = [*catalog.problems, *check(catalog, DATA / "atlas" / "implementations")]
    own = sorted(p for p in problems if REPOSITORY / p.file == path and p.level is not Level.HINT)
    expected = path.with_suffix(".txt").read_text(encoding="utf-8")
    assert "\n".join([*as_text(own), summary(1, own), ""]) == expected


def test_all_problems_of_all_files_come_from_one_run(command: Run) -> None:
    done = command("--no-hints", *BROKEN)
    # Entries that are one another's copy, as these are, may be told more than each alone.
    for path in BROKEN:
        for line in path.with_suffix(".txt").read_text(encoding="utf-8").splitlines()[:-1]:
            assert line in done.stdout
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1].startswith(f"{len(BROKEN)} entries checked: ")
    assert done.stderr == ""


def test_a_good_catalog_is_one_line(command: Run) -> None:
    done = command("--no-hints")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "2 entries checked: nothing to mend\n"


def test_hints_and_warnings_do_not_fail(command: Run, change: Change) -> None:
    change("brook", ("status: preprint\n", "status: preprint\nsubmitted: 2023-06-01\n"))
    done = command()
    assert done.returncode == 0
    assert "brook.yaml:10: warning: submitted: 2023-06-01 is long before" in done.stdout
    assert "catalog/vocabulary/allocation.yaml:3: hint: words.uniform: is used by" in done.stdout
    assert "1 warning" in done.stdout
    assert ": hint: " not in command("--no-hints").stdout


def test_one_file_is_told_of_alone(command: Run, change: Change, papers: Path) -> None:
    change("brook", ("kind: baseline", "kind: baselin"))
    change("river", ("kind: method", "kind: meth"))
    done = command(papers / "brook.yaml")
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 2
    assert done.stdout.startswith(f"{papers}/brook.yaml:4: kind: 'baselin' is not a word")
    assert done.stdout.endswith("1 entry checked: 1 error\n")


def test_json_is_a_list_of_problems(command: Run, change: Change, papers: Path) -> None:
    assert json.loads(command("--json", "--no-hints").stdout) == []
    change("brook", ("kind: baseline", "kind: baselin"))
    done = command("--json", "--no-hints")
    assert done.returncode == 1
    assert json.loads(done.stdout) == [
        {
            "file": str(papers / "brook.yaml"),
            "line": 4,
            "field": "kind",
            "message": "'baselin' is not a word of vocabulary/kind.yaml",
            "advice": "did you mean baseline?",
            "level": "error",
        }
    ]


@pytest.mark.parametrize("how", [["--github"], []])
def test_annotations_stand_at_the_line(
    command: Run, change: Change, papers: Path, how: list[str]
) -> None:
    change("brook", ("kind: baseline", "kind: baselin"))
    variables = {} if how else {"GITHUB_ACTIONS": "true"}
    done = command("--no-hints", *how, **variables)
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        f"::error file={papers}/brook.yaml,line=4,title=kind::'baselin' is not a word of"
        " vocabulary/kind.yaml; did you mean baseline?",
        "2 entries checked: 1 error",
    ]


def test_nothing_from_a_file_acts_on_a_terminal_or_on_github() -> None:
    hint = Problem(ENTRY, 1, "", "a:b", level=Level.HINT)
    assert as_text([NASTY]) == [f"{ENTRY}:3: title: holds '100 %:\\n\\x1b[31m,\\u202e'; remove it"]
    assert as_annotations([NASTY, hint]) == [
        f"::error file={ENTRY},line=3,title=title::holds '100 %25:\\n\\x1b[31m,\\u202e'; remove it",
        f"::notice file={ENTRY},line=1,title=entry::a:b",
    ]
    odd = Problem(Path("a,b:c.yaml"), 1, "x", "y")
    assert as_annotations([odd]) == ["::error file=a%2Cb%3Ac.yaml,line=1,title=x::y"]
    assert json.loads(as_json([NASTY]))[0]["message"] == NASTY.message


def test_fix_mends_what_has_one_right_form_and_says_so(
    command: Run, change: Change, papers: Path
) -> None:
    good = (papers / "brook.yaml").read_text(encoding="utf-8")
    change(
        "brook",
        ("authors: [Emmy Noether]", "authors:\n- Emmy   Noether  # who\n"),
        ('arxiv: "2312.00001"', "arxiv: https://arxiv.org/abs/2312.00001v2"),
        ("year: 2023\nstatus: preprint\n", "status: preprint\nyear: 2023\n"),
    )
    assert command("--no-hints").returncode == 1
    done = command("--no-hints", "--fix")
    assert done.returncode == 0
    assert done.stdout == "2 entries checked: nothing to mend\n"
    assert done.stderr.replace(f"{papers}/", "").splitlines() == [
        "brook.yaml: mended authors[0]: 'Emmy   Noether' became 'Emmy Noether'",
        "brook.yaml: mended ids.arxiv: 'https://arxiv.org/abs/2312.00001v2' became '2312.00001'",
    ]
    mended = (papers / "brook.yaml").read_text(encoding="utf-8")
    assert mended == good.replace("[Emmy Noether]", "[Emmy Noether]  # who")
    assert command("--no-hints", "--fix").stderr == ""


def test_fix_touches_neither_other_files_nor_what_it_cannot_read(
    command: Run, change: Change, papers: Path
) -> None:
    river = change("river", ("year: 2024", "year:   2024")).read_bytes()
    brook = change("brook", ("kind: baseline", "kind: [")).read_bytes()
    assert command("--fix", papers / "brook.yaml").returncode == 1
    assert (papers / "river.yaml").read_bytes() == river
    assert (papers / "brook.yaml").read_bytes() == brook


def test_fix_says_when_the_disk_does_not_let_it(
    change: Change, command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = change("brook", ("year: 2023", "year:   2023"))
    before = path.read_bytes()
    (path.parent / ".lock").mkdir()
    done = command("--fix")
    assert done.returncode == 1
    assert done.stderr.startswith(f"{path} was not written: ")
    assert done.stderr.count("\n") == 1
    assert path.read_bytes() == before


def test_only_the_layout_is_named_where_nothing_else_changes(change: Change) -> None:
    path = change("brook", ("year: 2023", "year:   2023"))
    assert fix(read(path), path) == ["layout"]
    assert fix(read(path), path) == []


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Bad-Name.yaml", "is not named as an entry; name it <slug>.yaml"),
        ("entry.yml", "is not named as an entry; name it <slug>.yaml"),
        ("7days.yaml", "is not named as an entry"),
        (".hidden.yaml", None),
    ],
)
def test_a_file_is_named_by_its_slug(
    command: Run, papers: Path, name: str, told: str | None
) -> None:
    (papers / name).write_text("title: a\n")
    done = command("--no-hints")
    assert done.returncode == bool(told)
    assert not told or f"{name}:1: {told}" in done.stdout


@pytest.mark.parametrize(
    ("options", "told"),
    [(["absent.yaml"], "absent.yaml"), (["--papers", "absent"], "absent"), (["--fixx"], "--fix")],
)
def test_a_wrong_call_is_told(command: Run, options: list[Any], told: str) -> None:
    done = command(*options)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_a_field_is_found_by_its_spelling() -> None:
    assert location("ids.doi") == ("ids", "doi")
    assert location("code[0].url") == ("code", 0, "url")
    assert location("relations.builds-on[12]") == ("relations", "builds-on", 12)
