"""Entries against one another and against the folders of methods."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.catalog.invented import Change, assert_one_problem, told
from tools.catalog.checks import check
from tools.catalog.documents.diagnostics import Level
from tools.catalog.entries.loader import read_catalog

RELATIONS = [
    ("extends: [brook]", "extends: [river]", "relations.extends[0]: relates the paper to itself"),
    ("extends: [brook]", "extends: [brok]", "relations.extends[0]: there is no entry brok"),
    ("extends: [brook]", "extends: [riverprune]", "it is called river now"),
    ("10.1109/icnn.1993.298572", "10.1000/example.7", "is in the catalog; write river"),
    ("aliases: [riverprune]", "aliases: [brook]", "aliases[0]: brook is an entry already"),
    ("aliases: [riverprune]", "aliases: [river]", "aliases[0]: river is an entry already"),
]


@pytest.mark.parametrize(("old", "new", "problem"), RELATIONS)
def test_one_change_is_one_problem(papers: Path, old: str, new: str, problem: str) -> None:
    assert_one_problem(papers, old, new, problem)


def test_each_circle_is_told_once(papers: Path, change: Change) -> None:
    change("brook", ("sources:", "relations:\n  builds-on: [river]\n\nsources:"))
    assert told(papers) == [
        "brook.yaml:21: relations: goes round in a circle: brook builds on river builds on brook;"
        " remove the one that is not so"
    ]


def test_circles_of_three_and_several_circles_are_told(papers: Path) -> None:
    text = (papers / "brook.yaml").read_text(encoding="utf-8")
    links = {"aa": "bb", "bb": "cc", "cc": "aa", "dd": "ee", "ee": "dd"}
    for number, (slug, other) in enumerate(links.items()):
        (papers / f"{slug}.yaml").write_text(
            text.replace("A Brook Before the River", f"{slug * 9} {number}")
            .replace("2312.00001", f"2312.1000{number}")
            .replace("sources:", f"relations:\n  extends: [{other}]\n\nsources:"),
            encoding="utf-8",
        )
    circles = [one.split(": ")[3].split(";")[0] for one in told(papers) if "circle" in one]
    assert circles == ["aa builds on bb builds on cc builds on aa", "dd builds on ee builds on dd"]


def test_a_method_folder_and_its_entry_need_each_other(papers: Path, change: Change) -> None:
    implementations = papers.parents[1] / "implementations"
    (implementations / "brook").mkdir()
    (implementations / "brook" / "brook.py").touch()
    (implementations / "pond").mkdir()
    (implementations / "pond" / "pond.py").touch()
    (implementations / "river" / "river.py").unlink()
    assert [one.replace(f"{implementations}/", "") for one in told(papers)] == [
        "brook.yaml:2: implementations/brook/ follows the paper in a way that is not said;"
        " add `fidelity`: faithful, reconstruction or in-the-spirit",
        "river.yaml:76: fidelity: there is no implementations/river/river.py;"
        " remove it until there is",
        "pond/pond.py:1: the catalog has no entry pond; add one: python tools/add_paper.py ID"
        " --slug pond",
    ]


def test_a_method_folder_of_a_baseline_without_a_paper_follows_none(
    papers: Path, change: Change
) -> None:
    change("brook", ("authors: [Emmy Noether]\n", ""), ("year: 2023\nstatus: preprint\n", ""))
    change("brook", ('ids:\n  arxiv: "2312.00001"\n\n', ""))
    folder = papers.parents[1] / "implementations" / "brook"
    folder.mkdir()
    (folder / "brook.py").touch()
    assert told(papers) == []


def test_equal_taxonomies_and_rare_words_are_hints(papers: Path) -> None:
    text = (papers / "brook.yaml").read_text(encoding="utf-8")
    text = text.replace("A Brook", "Quite Another Thing").replace("2312.00001", "2312.00002")
    (papers / "canal.yaml").write_text(text, encoding="utf-8")
    assert told(papers) == ["brook.yaml:16: hint: taxonomy: is the same as that of canal"]
    found = check(read_catalog(papers), papers.parents[1])
    rare = {p.field: p for p in found if p.file.name == "criterion.yaml"}
    assert rare["words.magnitude"].message.startswith("is used by 2 of 3 papers")
    assert {problem.level for problem in rare.values()} == {Level.HINT}
