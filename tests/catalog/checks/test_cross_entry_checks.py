"""Checks of entries against each other and against method folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.catalog.invented import Change, assert_one_problem, messages

RELATIONS = [
    ("extends: [brook]", "extends: [river]", "relations.extends[0]: is the paper itself"),
    ("extends: [brook]", "extends: [brok]", "relations.extends[0]: there is no entry brok"),
    ("extends: [brook]", "extends: [riverprune]", "it was renamed to river"),
    ("10.1109/icnn.1993.298572", "10.1000/example.7", "is in the catalog; write river"),
    ("aliases: [riverprune]", "aliases: [brook]", "aliases[0]: brook is already an entry"),
    ("aliases: [riverprune]", "aliases: [river]", "aliases[0]: river is already an entry"),
]


@pytest.mark.parametrize(("old", "new", "problem"), RELATIONS)
def test_one_change_causes_one_problem(papers: Path, old: str, new: str, problem: str) -> None:
    assert_one_problem(papers, old, new, problem)


def test_reports_cycles(papers: Path, change: Change) -> None:
    change("brook", ("sources:", "relations:\n  builds-on: [river]\n\nsources:"))
    assert messages(papers) == [
        "brook.yaml:21: relations: form a cycle: brook builds on river builds on brook;"
        " remove the wrong relation"
    ]


def test_method_folder_needs_entry_and_fidelity(papers: Path, change: Change) -> None:
    implementations = papers.parents[1] / "implementations"
    (implementations / "brook").mkdir()
    (implementations / "brook" / "brook.py").touch()
    (implementations / "pond").mkdir()
    (implementations / "pond" / "pond.py").touch()
    (implementations / "river" / "river.py").unlink()
    assert [one.replace(f"{implementations}/", "") for one in messages(papers)] == [
        "brook.yaml:2: implementations/brook/ exists, but `fidelity` is missing;"
        " add it: faithful, reconstruction or in-the-spirit",
        "river.yaml:77: fidelity: there is no implementations/river/river.py; remove it",
        "pond/pond.py:1: the catalog has no entry pond; add one: python tools/add_paper.py ID"
        " --slug pond",
    ]


def test_baseline_without_paper_needs_no_fidelity(papers: Path, change: Change) -> None:
    change("brook", ("authors: [Emmy Noether]\n", ""), ("year: 2023\nstatus: preprint\n", ""))
    change("brook", ('ids:\n  arxiv: "2312.00001"\n\n', ""))
    folder = papers.parents[1] / "implementations" / "brook"
    folder.mkdir()
    (folder / "brook.py").touch()
    assert messages(papers) == []


@pytest.mark.parametrize(
    ("paper", "problem"),
    [
        ("title: Another Title\n  ids: {arxiv: '2601.00001'}\n  reason: Prunes tokens.", None),
        (
            "title: Another Title\n  ids: {arxiv: '2401.00001v2'}\n  reason: Prunes tokens.",
            "4: papers[0].ids.arxiv: '2401.00001v2' is not an arXiv identifier",
        ),
        (
            "title: Another Title\n  ids: {}\n  reason: x",
            "4: papers[0].ids: contains no identifier",
        ),
        ("title: Another Title\n  reason: x", "3: papers[0]: the field ids is missing; add it"),
        ("title: Another Title\n  ids: {arxiv: '2601.00001'}", "the field reason is missing"),
        (
            "title: RIVER pruning of language models\n  ids: {arxiv: '2601.00001'}\n  reason: x",
            "3: papers[0]: 'RIVER pruning of language models' is in the catalog as river",
        ),
        (
            "title: Another Title\n  ids: {arxiv: '2312.00001'}\n  reason: x",
            "3: papers[0]: 'Another Title' is in the catalog as brook; remove it",
        ),
        (
            "title: A Title\n  ids: {arxiv: '2601.00001'}\n  reason: x\n"
            "- title: Another\n  ids: {arxiv: '2601.00001'}\n  reason: x",
            "6: papers[1]: 'Another' is already declined; remove it",
        ),
    ],
)
def test_declined_papers(papers: Path, paper: str, problem: str | None) -> None:
    file = papers.parent / "declined.yaml"
    file.write_text(f"about: Papers out of scope.\npapers:\n- {paper}\n", encoding="utf-8")
    found = messages(papers)
    assert len(found) == bool(problem)
    assert not problem or problem in found[0]
