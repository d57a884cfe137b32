"""Awesome lists read and compared: the list the project began from, and the spellings of others."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tools.catalog.entries import load_catalog
from tools.catalog.exports import EXPORTS
from tools.catalog.paper import Paper
from tools.catalog.problems import Level
from tools.lists.comparing import Compared, compare
from tools.lists.reading import Item, read_list, repair
from tools.lists.report import as_json, as_text

ROOT = Path(__file__).resolve().parents[2]
SEED = ROOT / "tests" / "data" / "seed-list.md"

# What checking the seed list against the papers themselves brought up, by slug: level and field of
# each thing that is wrong, what the list has, what the catalog knows.
ERRORS = {
    ("zhu2024survey", "error", "title"): ("Operations Research", "A Survey on Model Compression"),
    ("wang2024survey", "error", "date"): ("2024-01", "2024-02-15"),
    ("wang2024survey", "warning", "link"): ("rNoHBvNzHn", "arxiv.org/abs/2402.09748"),
    ("fastforward", "error", "group"): ("Weight-level", "structured"),
    ("dpruner", "error", "group"): ("Structured", "unstructured"),
    ("sparsegpt", "warning", "title"): ("One-shot", "One-Shot"),
    ("sparsegpt", "error", "link"): ("10.5555", "icml.cc"),
    ("slimgpt", "error", "link"): ("10.5555", "MxF0IKJtKW"),
    ("displlm", "error", "link"): ("10.5555", "YxaY6tHgg0"),
    ("slimgpt", "warning", "venue"): ("NIPS", "NeurIPS 2024"),
    ("displlm", "warning", "venue"): ("NIPS", "NeurIPS 2024"),
    ("twossp", "error", "venue"): ("arXiv", "TMLR 2025"),
    ("loraprune", "error", "venue"): ("ACL", "Findings of ACL 2024"),
    ("dpruner", "error", "venue"): ("NAACL", "Findings of NAACL 2024"),
    ("loraprune", "error", "date"): ("2024-01", "2023-05-28; published 2024-08"),
    ("dpruner", "error", "date"): ("2024-01", "2024-05-10"),
    ("sobp", "error", "date"): ("2024-01", "2024-11"),
    ("griffin", "warning", "date"): ("2024-07", "2024-04-01"),
    ("dpruner", "warning", "link"): ("pure.psu.edu", "2024.findings-naacl.91"),
    ("cfsp", "warning", "text"): ("CFSP", ""),
    ("cfsp", "warning", "link"): ("OHkBBatwp3", "2025.coling-main.626"),
    ("dpruner", "error", "code"): ("psunlpgroup", "README only"),
    ("adaptpruner", "warning", "code"): ("", "research4pan"),
    ("ast", "warning", "code"): ("", "thu-ml"),
    ("atp", "warning", "code"): ("", "One-click-Tuning"),
    ("bonsai", "warning", "code"): ("", "ldery"),
    ("displlm", "warning", "code"): ("", "ZhengaoLi"),
    ("fastforward", "warning", "code"): ("", "YuanTheouy"),
    ("slimllm", "warning", "code"): ("", "guojialong1"),
    ("sobp", "hint", "link"): ("a8ruEUhpOv", "2024.emnlp-main.775"),
    ("pbs2p", "hint", "code"): ("PBS2P", "no code"),
    ("prunellm", "hint", "code"): ("PruneLLM", "no pruning code"),
}


@pytest.fixture(scope="module")
def papers() -> dict[str, Paper]:
    return dict(load_catalog())


@pytest.fixture(scope="module")
def seed(papers: dict[str, Paper]) -> list[Compared]:
    return compare(read_list(SEED.read_text(encoding="utf-8")), papers)


def import_list(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tools" / "import_list.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_every_paper_of_the_seed_list_is_found(seed: list[Compared]) -> None:
    assert len(seed) == 28
    assert len({one.slug for one in seed}) == 28
    assert "" not in {one.slug for one in seed}


def test_the_errors_of_the_seed_list_are_named(seed: list[Compared]) -> None:
    found = {
        (one.slug, str(finding.level), finding.field): (finding.listed, finding.catalog)
        for one in seed
        for finding in one.findings
    }
    for key, (listed, has) in ERRORS.items():
        assert key in found, key
        assert listed in found[key][0], key
        assert has in found[key][1], key


def test_lines_of_the_seed_list_that_are_right_are_left_alone(seed: list[Compared]) -> None:
    right = {one.slug for one in seed if one.status == "known"}
    expected = "evop prunellm hywia kvpruner maskprune fasp saap llmbip minillm flap pbs2p"
    assert right == set(expected.split())
    assert {one.slug for one in seed if not one.findings} >= {"fasp", "saap", "maskprune", "flap"}


def test_our_own_list_agrees_with_the_catalog(papers: dict[str, Paper]) -> None:
    items = read_list(EXPORTS["LIST.md"](papers, ()))
    compared = compare(items, papers)
    assert {one.slug for one in compared} == set(papers)
    assert [one for one in compared if one.status != "known"] == []


@pytest.mark.parametrize(
    ("line", "date", "title", "venue", "links"),
    [
        (
            "- [2023.07] A Title, with Comma, ICML [[Paper](https://a.org/p)][[Code](https://c.d)]",
            *("2023-07", "A Title, with Comma", "ICML", ["https://a.org/p", "https://c.d"]),
        ),
        (
            "- [2025.01] A Title of Full Width， COLING[[Paper](https://a.org/p)]",
            *("2025-01", "A Title of Full Width", "COLING", ["https://a.org/p"]),
        ),
        (
            "- [2025.01] A Title Decoded WronglyÔºå COLING[[Paper](https://a.org/p)]",
            *("2025-01", "A Title Decoded Wrongly", "COLING", ["https://a.org/p"]),
        ),
        (
            "* [A Title: in the Link](https://a.org/p_(1)), NeurIPS 2024, [[code]](https://c.d/e)",
            *("", "A Title: in the Link", "NeurIPS 2024", ["https://a.org/p_(1)", "https://c.d/e"]),
        ),
        (
            "1. **A Bold Title, no Less**. Ada Lovelace, ICLR'24. [[pdf](https://a.org/p 'note')]",
            *("", "A Bold Title, no Less", "ICLR'24", ["https://a.org/p"]),
        ),
        (
            "| 2023/7 | **A Title in Cells** | Findings of EMNLP | [pdf](https://a.org/p) | - |",
            *("2023-07", "A Title in Cells", "Findings of EMNLP", ["https://a.org/p"]),
        ),
        (
            "| A Plain Title | ICML | ![b](https://img.org/b) | [link](https://a.org/p) |",
            *("", "A Plain Title", "ICML", ["https://a.org/p"]),
        ),
        (
            "[A Title on Its Own Line](https://a.org/p)",
            *("", "A Title on Its Own Line", "", ["https://a.org/p"]),
        ),
        (
            "- [2024.05] Escaped \\*Title\\* &amp; more, arXiv",
            *("2024-05", "Escaped *Title* & more", "arXiv", []),
        ),
        (
            "- 2024-05-17: Pruning, Quantization, and Beyond [Paper](https://a.org/p)",
            *("2024-05", "Pruning, Quantization, and Beyond", "", ["https://a.org/p"]),
        ),
    ],
)
def test_lines_are_read_in_the_spellings_that_lists_have(
    line: str, date: str, title: str, venue: str, links: list[str]
) -> None:
    (item,) = read_list(f"## Some group\n\n{line}\n")
    assert (item.date, item.title, item.venue) == (date, title, venue)
    assert [link.url for link in item.links] == links
    assert (item.line, item.group) == (3, "Some group")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# Only a heading",
        "- [Surveys](#surveys)",
        "- ",
        "- plain words and no link",
        "Prose with [a link to a page](https://a.org).",
        "| Title | Venue | Link |\n| --- | --- | --- |",
        "```\n- [2024.01] A Title in Code, ICML [[Paper](https://a.org)]\n```",
        "[![a badge of ours](https://a.org/b.svg)](https://a.org)",
        "- see [here](https://a.org)",
        "- [x](javascript:alert(1)) a title of words",
    ],
)
def test_what_names_no_paper_is_no_line(text: str) -> None:
    assert read_list(text) == []


@pytest.mark.parametrize(
    ("damaged", "meant"),
    [("Ôºå", "，"), ("CafÃ©", "Café"), ("‚Äì", "–"), ("Müller", "Müller"), ("中文", "中文")],
)
def test_wrong_decoding_is_undone_and_right_letters_stay(damaged: str, meant: str) -> None:
    assert repair(damaged) == meant


def test_hostile_lines_take_no_time() -> None:
    evil = ["[" * 4900, "- [a](" * 800, "- [a](" + "(" * 4800, '- [a](b "\\' * 400, "<" * 4900]
    evil += ["- a [](https://a.org), " + "A" * 4800 + "!", "- " + "a, " * 1600]
    assert read_list("\n".join([*evil, "- " + "a" * 10**6])) == []


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


def beside(line: str, **changes: Any) -> Compared:
    papers = {"pruner": Paper.model_validate(ENTRY | changes)}
    (one,) = compare(read_list(line), papers)
    return one


@pytest.mark.parametrize(
    ("line", "how"),
    [
        ("- Other words entirely here [pdf](https://arxiv.org/pdf/2306.11695v3.pdf)", "link"),
        ("- Other words entirely here [pdf](http://www.openreview.net/pdf?id=PxoFut3dWW)", "link"),
        ("- Other words entirely here [pdf](https://doi.org/10.48550/arXiv.2306.11695)", "link"),
        (
            "- Other words here [pdf](https://ieeexplore.ieee.org/abstract/document/10889000)",
            "link",
        ),
        ("- Other words entirely here [pdf](http://v.org/paper/?id=7)", "link"),
        ("- A simple pruner! [pdf](https://mirror.org/1)", "title"),
        ("- The pruner in its first version [pdf](https://mirror.org/1)", "title"),
        ("- Other words entirely here [code](https://github.com/A/b.git)", "code"),
    ],
)
def test_a_paper_is_found_by_link_title_or_repository(line: str, how: str) -> None:
    one = beside(line)
    assert (one.slug, one.how) == ("pruner", how)


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
def test_what_a_line_has_otherwise_is_named_with_its_weight(
    line: str, changes: dict[str, Any], expected: list[str]
) -> None:
    one = beside(line, **changes)
    assert [f"{finding.level} {finding.field}" for finding in one.findings] == expected
    serious = any(not entry.startswith("hint") for entry in expected)
    assert one.status == ("contradicts" if serious else "known")


def test_a_repository_of_others_does_not_lead_to_a_paper() -> None:
    others = [{"url": "https://github.com/a/B", "official": False}]
    assert (
        beside("- Other words entirely here [code](https://github.com/a/B)", code=others).slug == ""
    )


def test_a_paper_that_stands_twice_is_told(papers: dict[str, Paper]) -> None:
    lines = "- [2023.06] {} [pdf](https://arxiv.org/abs/2306.11695) [code](https://github.com/locuslab/wanda)"
    first, second = compare(
        read_list(f"{lines}\n{lines}".replace("{}", papers["wanda"].title)), papers
    )
    assert [f.field for f in first.findings if f.level is not Level.HINT] == []
    assert second.findings[-1].message == "stands in line 1 already"


@pytest.mark.parametrize(
    ("line", "command"),
    [
        (
            "- A new one here [pdf](https://arxiv.org/abs/2601.00001v2)",
            "https://arxiv.org/abs/2601.00001v2",
        ),
        (
            "- A new one here [pdf](https://some.org/x) [code](https://github.com/n/n)",
            "'A new one here'",
        ),
        ("- [2026.01] It's $(new); rm -rf", "'It'\"'\"'s $(new); rm -rf'"),
    ],
)
def test_a_new_paper_comes_with_the_command_that_adds_it(
    line: str, command: str, papers: dict[str, Paper]
) -> None:
    (one,) = compare(read_list(line), papers)
    assert one.status == "new"
    assert one.command == f"python tools/add_paper.py {command}"


def test_the_report_says_what_the_data_say(seed: list[Compared]) -> None:
    data = as_json(seed)
    assert data["counts"] == {"contradicts": 17, "known": 11, "new": 0}
    assert len(data["lines"]) == 28
    text = list(as_text(seed))
    assert text[0] == "17 in the catalog, and the line has something otherwise:"
    assert "0 not in the catalog." in text
    assert any("'NIPS': is written NeurIPS; the catalog has 'NeurIPS 2024'" in row for row in text)


def test_the_command_prints_text_or_json() -> None:
    plain, data = import_list(SEED), import_list(SEED, "--json")
    assert plain.returncode == data.returncode == 0, plain.stderr + data.stderr
    assert "line 28: zhu2024survey: Large Language Models in Operations Research" in plain.stdout
    lines = json.loads(data.stdout)["lines"]
    assert lines[0]["slug"] == "zhu2024survey"
    assert Item(**{k: v for k, v in lines[0].items() if k in Item.__annotations__}).line == 28


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"# A list\n", "holds no line that names a paper"),
        (b"- caf\xe9", "is not UTF-8 text; save it as UTF-8"),
        pytest.param(b"x" * 5_000_001, "is larger than 5,000,000 bytes", id="large"),
    ],
)
def test_a_file_that_is_no_list_is_told(
    content: bytes | None, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "list.md"
    if content is not None:
        file.write_bytes(content)
    done = import_list(file)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
