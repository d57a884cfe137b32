"""Parsing of Awesome lists."""

from __future__ import annotations

import pytest

from tools.discovery.list_parser import read_list


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
            "- A Title before a Break  <br> ICLR 2024 [[Paper]](https://a.org/p)",
            *("", "A Title before a Break", "ICLR 2024", ["https://a.org/p"]),
        ),
        (
            "- [12] A Title: with Details\n  - Publication: COLM 2024, [Paper](https://a.org/p)\n"
            "  - Label: Pruning, N:M\n  - Code: [the code of it](https://c.d/e)",
            *("", "A Title: with Details", "COLM 2024", ["https://a.org/p", "https://c.d/e"]),
        ),
        (
            "- A Title of Plain Details\n\n    - Author: Ada Lovelace, and more of them\n"
            "    - Link: https://a.org/p__1 \n    - Code: Not available\n    - Pub: Under review\n",
            *("", "A Title of Plain Details", "", ["https://a.org/p__1"]),
        ),
        (
            "- 2024-05-17: Pruning, Quantization, and Beyond [Paper](https://a.org/p)",
            *("2024-05", "Pruning, Quantization, and Beyond", "", ["https://a.org/p"]),
        ),
    ],
)
def test_reads_common_notations(
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
        "[//]: # (A Title in a Comment, [of some](https://a.org))",
        "- A Title before Prose\n\nProse\n\n  - Link: https://a.org/p",
    ],
)
def test_ignores_lines_without_paper(text: str) -> None:
    assert read_list(text) == []
