"""The Awesome list."""

from __future__ import annotations

import re
from typing import Any

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.catalog.invented import baseline, paper
from tools.catalog.entries.loader import load_catalog
from tools.catalog.exports.awesome_list import (
    GROUPS,
    anchor,
    group,
    grouped,
    listing,
)
from tools.catalog.schema.addresses import best_code
from tools.catalog.schema.paper import Paper
from tools.catalog.schema.vocabulary import vocabulary
from tools.repository import REPOSITORY, measured


def cut(*granularity: str) -> dict[str, Any]:
    taxonomy = {"granularity": granularity, "criterion": ["gradient"], "calibration": "forward"}
    return {"taxonomy": taxonomy}


def item(slug: str, one: Paper, methods: dict[str, bool]) -> str:
    """The lines of one paper."""
    return listing({slug: one}, methods).rpartition("\n\n")[2]


def line(one: Paper) -> str:
    """The first line of one paper."""
    return item("a", one, {}).split("\n")[0].removesuffix("<br>")


def inline(markdown: str) -> list[Token]:
    """The rendered content of the only list item of a line."""
    (token,) = (t for t in MarkdownIt().parse(markdown) if t.type == "inline")
    return token.children or []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (cut("unstructured"), "unstructured"),
        (cut("semi-structured", "unstructured"), "unstructured"),
        (cut("structured", "semi-structured"), "semi-structured"),
        (cut("structured"), "structured"),
        ({"kind": "baseline", **cut("unstructured", "semi-structured")}, "unstructured"),
        ({"kind": "survey"}, "survey"),
        ({"kind": "analysis", **cut("structured")}, "analysis"),
        ({"kind": "system", **cut("unstructured")}, "system"),
        (cut("block-sparse", "activation"), "block-sparse"),
        (cut("activation"), "activation"),
        (cut("unknown"), "unknown"),
    ],
)
def test_groups_by_kind_or_finest_granularity(changes: dict[str, Any], expected: str) -> None:
    assert group(paper(**changes)) == expected


def test_sorts_by_date_then_slug() -> None:
    papers = {
        "b": paper(submitted="2024-02", **cut("structured")),
        "a": paper(submitted="2024-02", **cut("structured")),
        "old": paper(submitted="2023-12-31", **cut("structured")),
        "new": paper(published="2024-03", **cut("structured")),
        "unknown": paper(year=2023, **cut("structured")),
    }
    assert grouped(papers) == {"structured": ["new", "a", "b", "old", "unknown"]}


def test_line_has_the_usual_format() -> None:
    it = paper(
        submitted="2023-06-20",
        venue="acl-findings",
        ids={"arxiv": "2306.11695", "anthology": "2024.findings-acl.178"},
        code=[{"url": "https://github.com/a/b", "official": True}],
    )
    assert line(it) == (
        "- [2023.06] A Pruner, Findings of ACL 2024 "
        "[[Paper](https://aclanthology.org/2024.findings-acl.178/)]"
        "[[arXiv](https://arxiv.org/abs/2306.11695)]"
        "[[Code](https://github.com/a/b)]"
    )


def test_links_available_code_official_first() -> None:
    others = {"url": "https://github.com/other/b", "official": False}
    own = {"url": "https://github.com/own/b", "official": True}
    code = best_code(paper(code=[others, own]))
    assert code
    assert code.url == own["url"]
    assert "[[Unofficial code](https://github.com/other/b)]" in line(
        paper(code=[others, own | {"withdrawn": True}])
    )
    assert "Code" not in line(paper(code=[own | {"withdrawn": True}]))


TRAPS = 'a*b_c [x](y) <b> & # | ~~s~~ `c` \\ !$1$ "q" 1. - + http://x.org &amp; __x__ :) ]'


@pytest.mark.parametrize("title", [TRAPS, *TRAPS.split()])
def test_escapes_markdown_in_titles(title: str) -> None:
    it = paper().model_copy(update={"title": title})
    shown = inline(line(it))
    text = "".join(token.content for token in shown)
    assert text == f"[2024] {title}, arXiv [Paper]"
    assert [token.attrs["href"] for token in shown if token.type == "link_open"] == [
        "https://arxiv.org/abs/2306.11695"
    ]


def test_escapes_parentheses_in_addresses() -> None:
    code = {"url": "https://e.org/x_(1)", "official": True, "note": 'Says "no" (yet).'}
    links = [t.attrs for t in inline(line(paper(code=[code]))) if t.type == "link_open"]
    assert links[1] == {"href": "https://e.org/x_%281%29", "title": 'Says "no" (yet).'}


def test_list_contains_every_paper_once() -> None:
    papers = load_catalog()
    text = listing(papers, {})
    groups = grouped(papers)
    placed = [slug for slugs in groups.values() for slug in slugs]
    assert sorted(placed) == [slug for slug in sorted(papers) if papers[slug].has_paper]
    assert len([row for row in text.splitlines() if re.match(r"- \[\d{4}", row)]) == len(placed)
    assert f"\nThis list has {len(placed)} papers; " in text


def test_list_omits_baselines_without_paper() -> None:
    alone = paper(**cut("structured"))
    assert grouped({"chance": baseline(), "a": alone}) == {"structured": ["a"]}
    with_ = {"chance": baseline(added="2027-01-01"), "a": alone}
    assert listing(with_, {"chance": True}) == listing({"a": alone}, {})


def test_table_of_contents_links_to_the_headings() -> None:
    text = listing(load_catalog(), {})
    for heading in (row[3:] for row in text.splitlines() if row.startswith("## ")):
        assert heading in GROUPS.values()
        assert f"- [{heading}](#{anchor(heading)})" in text
    assert anchor("Semi-structured pruning") == "semi-structured-pruning"


def test_every_kind_and_granularity_has_a_heading() -> None:
    """A kind without heading would be omitted silently."""
    kinds = {kind for kind in vocabulary()["kind"].terms if kind not in ("method", "baseline")}
    assert set(GROUPS) == kinds | set(vocabulary()["granularity"].terms)


OWN = {"url": "https://github.com/own/b", "official": True}


@pytest.mark.parametrize(
    ("changes", "methods", "status"),
    [
        (cut("structured"), {"a": True}, "[implemented and measured here](implementations/a)"),
        ({"code": [OWN]}, {"a": True}, "[implemented and measured here](implementations/a)"),
        (cut("structured"), {"a": False}, "[implemented here](implementations/a)"),
        ({"code": [OWN]}, {"b": True}, "official code"),
        ({"code": [OWN | {"official": False}]}, {}, "unofficial code"),
        ({"code": [OWN | {"withdrawn": True}]}, {}, "no known code"),
        ({}, {}, "no known code"),
        ({"kind": "analysis", "code": [OWN]}, {}, "official code"),
        ({"kind": "survey", "code": [OWN]}, {}, ""),  # nobody looks for its code
    ],
)
def test_second_line_shows_the_status_here(
    changes: dict[str, Any], methods: dict[str, bool], status: str
) -> None:
    first, second, end = item("a", paper(**changes), methods).split("\n")
    assert (first, end) == (f"{line(paper(**changes))}<br>", "")
    assert second == f"  <sub>{status}{' · ' if status else ''}read: paper</sub>"


def test_both_lines_are_one_list_item() -> None:
    papers = {"a": paper(**cut("structured"))}
    text = listing(papers, {"a": True})
    tokens = MarkdownIt("commonmark", {"html": True}).parse(text[text.index("\n## ") :])
    assert [token.type for token in tokens].count("list_item_open") == 1
    assert "implements 1 of\nthem and has measured 1 of these" in text
    for term in vocabulary()["read"].terms.values():
        assert f"- *{term.word}*: {term.definition}" in text


def test_committed_list_is_current() -> None:
    advice = "run `python tools/export.py LIST.md --out .`"
    committed = (REPOSITORY / "LIST.md").read_text(encoding="utf-8")
    assert committed == listing(load_catalog(), measured()), advice
