"""Comparison of lists with the catalog."""

from __future__ import annotations

from typing import Any

import pytest

from tools.catalog.entries.declined import DeclinedPaper
from tools.catalog.exports.formats import EXPORTS
from tools.catalog.schema.paper import Paper
from tools.lists.comparison import Comparison, compare
from tools.lists.parser import read_list

# One error of each kind that reading the papers of the seed list found, by slug: level, field, the
# text in the list, and the value in the catalog.
ERRORS = {
    ("zhu2024survey", "error", "title"): ("Operations Research", "A Survey on Model Compression"),
    ("cfsp", "warning", "title"): ("COLING", "CFSP"),
    ("slimgpt", "error", "link"): ("10.5555", "MxF0IKJtKW"),
    ("slimgpt", "warning", "venue"): ("NIPS", "NeurIPS 2024"),
    ("loraprune", "error", "venue"): ("ACL", "Findings of ACL 2024"),
    ("loraprune", "error", "date"): ("2024-01", "2023-05-28; published 2024-08"),
    ("griffin", "warning", "date"): ("2024-07", "2024-04-01"),
    ("dpruner", "warning", "link"): ("pure.psu.edu", "2024.findings-naacl.91"),
    ("dpruner", "hint", "code"): ("psunlpgroup", "README only"),
    ("sobp", "hint", "link"): ("a8ruEUhpOv", "2024.emnlp-main.775"),
}


def test_finds_every_paper_of_the_seed_list(seed: list[Comparison]) -> None:
    assert len(seed) == 28
    assert len({one.slug for one in seed}) == 28
    assert "" not in {one.slug for one in seed}


def test_reports_the_errors_of_the_seed_list(seed: list[Comparison]) -> None:
    found = {
        (one.slug, str(finding.level), finding.field): (finding.listed, finding.catalog)
        for one in seed
        for finding in one.findings
    }
    for key, (listed, has) in ERRORS.items():
        assert key in found, key
        assert listed in found[key][0], key
        assert has in found[key][1], key


def test_our_own_list_agrees_with_the_catalog(papers: dict[str, Paper]) -> None:
    every = read_list(EXPORTS["LIST.md"](papers, dict.fromkeys(papers, True)))
    items = [item for item in every if item.group != "Start here"]  # repeats ten of the others
    compared = compare(items, papers)
    assert {one.slug for one in compared} == {slug for slug in papers if papers[slug].has_paper}
    assert [one for one in compared if one.status != "known"] == []


ENTRY: dict[str, Any] = {
    "title": "A Simple Pruner",
    "other_titles": ["The Pruner in Its First Version"],
    "authors": ["Ada Lovelace"],
    "kind": "method",
    "summary": "Prunes.",
    "venue": "icml",
    "year": 2024,
    "status": "published",
    "submitted": "2023-06-20",
    "added": "2026-11-25",
    "ids": {"arxiv": "2306.11695", "openreview": "PxoFut3dWW", "ieee": "10889000"},
    "links": {"venue": "https://v.org/paper?id=7"},
    "code": [{"url": "https://github.com/a/B", "official": True}],
    "taxonomy": {
        "granularity": ["semi-structured"],
        "criterion": ["gradient"],
        "calibration": "forward",
    },
    "sources": {"checked": "2026-11-25", "from": ["paper text"]},
}


def beside(line: str, **changes: Any) -> Comparison:
    papers = {"pruner": Paper.model_validate(ENTRY | changes)}
    (one,) = compare(read_list(line), papers)
    return one


@pytest.mark.parametrize(
    "line",
    [
        "- Other words entirely here [pdf](https://arxiv.org/pdf/2306.11695v3.pdf)",
        "- Other words entirely here [pdf](http://www.openreview.net/pdf?id=PxoFut3dWW)",
        "- Other words entirely here [pdf](https://doi.org/10.48550/arXiv.2306.11695)",
        "- Other words here [pdf](https://ieeexplore.ieee.org/abstract/document/10889000)",
        "- Other words entirely here [pdf](http://v.org/paper/?id=7)",
        "- A simple pruner! [pdf](https://mirror.org/1)",
        "- The pruner in its first version [pdf](https://mirror.org/1)",
        "- Other words entirely here [code](https://github.com/A/b.git)",
    ],
)
def test_finds_papers_by_link_title_or_repository(line: str) -> None:
    assert beside(line).slug == "pruner"


@pytest.mark.parametrize(
    ("line", "changes", "expected"),
    [
        ("- [2023.06] A Simple Pruner, ICML 2024 [code](https://github.com/a/B)", {}, []),
        ("- [2024.07] A Simple Pruner, ICML [code](https://github.com/a/B)", {}, ["warning date"]),
        (
            "- [2024.07] A Simple Pruner, ICML [code](https://github.com/a/B)",
            *({"published": "2024-07-21"}, []),
        ),
        ("- [2023.05] A Simple Pruner [code](https://github.com/a/B)", {}, ["error date"]),
        ("- [2025.01] A Simple Pruner [code](https://github.com/a/B)", {}, ["error date"]),
        (
            "- [2024.01] A Simple Pruner [code](https://github.com/a/B)",
            *({"submitted": "2024-02"}, ["error date"]),
        ),
        ("- [2024] A Simple Pruner [code](https://github.com/a/B)", {}, []),
        (
            "- [2023.06] A Simple Pruner, ICML 2023 [code](https://github.com/a/B)",
            {},
            ["error venue"],
        ),
        ("- [2023.06] A Simple Pruner, XYZ [code](https://github.com/a/B)", {}, ["error venue"]),
        (
            "- [2023.06] A Simple Pruner, ICML [code](https://github.com/a/B)",
            *({"venue": None, "status": "preprint"}, ["error venue"]),
        ),
        ("- [2023.06] The Pruner in Its First Version", {"code": None}, ["hint title"]),
        ("- [2023.06] A Simple Prunner", {"code": None}, ["warning title"]),
        ("- [2023.06] A Simple Pruner", {}, ["warning code"]),
        ("- [2023.06] A Simple Pruner [code](https://github.com/x/y)", {}, ["warning code"]),
        (
            "- [2023.06] A Simple Pruner [pdf](https://arxiv.org/abs/2306.11695)",
            *({"code": None}, ["hint link"]),
        ),
        (
            "- [2023.06] A Simple Pruner [arXiv](https://arxiv.org/abs/2306.11695)",
            *({"code": None}, []),
        ),
        ("# Structured\n- [2023.06] A Simple Pruner", {"code": None}, ["error group"]),
        ("# Semi-structured pruning\n- [2023.06] A Simple Pruner", {"code": None}, []),
        ("# N:M sparsity\n- [2023.06] A Simple Pruner", {"code": None}, []),
        ("# Surveys\n- [2023.06] A Simple Pruner", {"code": None}, ["error group"]),
        ("# Papers\n- [2023.06] A Simple Pruner", {"code": None}, []),
    ],
)
def test_reports_differences_with_their_level(
    line: str, changes: dict[str, Any], expected: list[str]
) -> None:
    one = beside(line, **changes)
    assert [f"{finding.level} {finding.field}" for finding in one.findings] == expected
    serious = any(not entry.startswith("hint") for entry in expected)
    assert one.status == ("contradicts" if serious else "known")


def test_unofficial_repositories_do_not_identify_papers() -> None:
    others = [{"url": "https://github.com/a/B", "official": False}]
    assert (
        beside("- Other words entirely here [code](https://github.com/a/B)", code=others).slug == ""
    )


def test_reports_repeated_papers(papers: dict[str, Paper]) -> None:
    lines = "- [2023.06] {} [pdf](https://arxiv.org/abs/2306.11695) [code](https://github.com/locuslab/wanda)"
    first, second = compare(
        read_list(f"{lines}\n{lines}".replace("{}", papers["wanda"].title)), papers
    )
    assert [f.field for f in first.findings if f.level != "hint"] == []
    assert second.findings[-1].message == "the paper is already in line 1"


@pytest.mark.parametrize(
    ("line", "command"),
    [
        (
            "- A new one here [pdf](https://arxiv.org/abs/2601.00001v2)",
            "2601.00001",
        ),
        (
            "- A new one here [pdf](https://openreview.net/pdf?id=abcDEF1234)",
            "'https://openreview.net/pdf?id=abcDEF1234'",
        ),
        (
            "- A new one here [pdf](https://some.org/x) [code](https://github.com/n/n)",
            "'A new one here'",
        ),
        ("- [2026.01] It's $(new); rm -rf", "'It'\"'\"'s $(new); rm -rf'"),
    ],
)
def test_new_paper_has_a_command_to_add_it(
    line: str, command: str, papers: dict[str, Paper]
) -> None:
    (one,) = compare(read_list(line), papers)
    assert one.status == "new"
    assert one.command == f"python tools/add_paper.py {command}"


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("- Another title here [pdf](https://arxiv.org/abs/2601.00001v2)", "declined"),
        ("- A pruner of tokens! [pdf](https://mirror.org/1)", "declined"),
        ("- A Pruner of Weights [pdf](https://arxiv.org/abs/2601.00002)", "new"),
        ("- A Pruner of Tokens [pdf](https://arxiv.org/abs/2306.11695)", "contradicts"),
    ],
)
def test_declined_papers_are_not_new(line: str, status: str) -> None:
    about = {"title": "A Pruner of Tokens", "ids": {"arxiv": "2601.00001"}, "reason": "Tokens."}
    papers = {"pruner": Paper.model_validate(ENTRY)}
    (one,) = compare(read_list(line), papers, [DeclinedPaper.model_validate(about)])
    assert one.status == status
    assert (one.declined == "Tokens.") == (status == "declined")
    assert bool(one.command) == (status == "new")
