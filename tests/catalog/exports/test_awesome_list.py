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
    KINDS,
    START,
    anchor,
    group,
    grouped,
    headline,
    listing,
)
from tools.catalog.schema.addresses import best_code
from tools.catalog.schema.paper import Paper
from tools.catalog.schema.vocabulary import vocabulary
from tools.repository import REPOSITORY, measured


def cut(*granularity: str, **more: Any) -> dict[str, Any]:
    taxonomy = {"granularity": granularity, "criterion": ["gradient"], "calibration": "forward"}
    return {"taxonomy": taxonomy | more}


def item(slug: str, one: Paper, methods: dict[str, bool]) -> str:
    """The line of one paper."""
    text = listing({slug: one}, methods)
    return next(row for row in text.splitlines() if row.startswith("- [2"))


def line(one: Paper) -> str:
    """The line of one paper that is not implemented."""
    return item("a", one, {})


def inline(markdown: str) -> list[Token]:
    """The rendered content of the only list item of a line."""
    (token,) = (t for t in MarkdownIt().parse(markdown) if t.type == "inline")
    return token.children or []


PLUG_IN = {"role": "plug-in"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (cut("unstructured"), "unstructured"),
        (cut("semi-structured", "unstructured"), "unstructured"),
        (cut("structured", "semi-structured"), "semi-structured"),
        (cut("block-sparse", "activation"), "semi-structured"),
        (cut("structured", prunes=["channels"]), "width"),
        (cut("structured", prunes=["blocks", "heads"]), "width"),
        (cut("structured", prunes=["blocks", "attention-sublayers"]), "depth"),
        (cut("activation"), "activation"),
        (cut("structured", prunes=["experts"]), "experts"),
        (cut("unstructured", architecture=["ssm-hybrid"]), "state-space"),
        (cut("unstructured", architecture=["decoder", "ssm-hybrid"]), "unstructured"),
        (PLUG_IN | cut("unstructured", allocation="layerwise"), "allocation"),
        (PLUG_IN | cut("unstructured", allocation="layerwise", recovery="low-rank"), "recovery"),
        (PLUG_IN | cut("unstructured", recovery="none"), "unstructured"),
        (PLUG_IN | cut("unknown", recovery="none"), "recovery"),
        (cut("unstructured", allocation="layerwise"), "unstructured"),
        ({"kind": "survey"}, "survey"),
        ({"kind": "theory"}, "analysis"),
        ({"kind": "analysis", **cut("structured")}, "analysis"),
        ({"kind": "system", **cut("unstructured")}, "system"),
    ],
)
def test_groups_by_what_is_removed_or_by_kind(changes: dict[str, Any], expected: str) -> None:
    assert group(paper(**changes)) == expected


def test_sorts_by_date_then_slug() -> None:
    papers = {
        "b": paper(submitted="2024-02", **cut("structured")),
        "a": paper(submitted="2024-02", **cut("structured")),
        "old": paper(submitted="2023-12-31", **cut("structured")),
        "new": paper(published="2024-03", **cut("structured")),
        "unknown": paper(year=2023, **cut("structured")),
    }
    assert grouped(papers) == {"width": ["new", "a", "b", "old", "unknown"]}


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
    assert f"\n{len(placed)} papers, newest first" in text


def test_list_omits_baselines_without_paper() -> None:
    alone = paper(**cut("structured"))
    assert grouped({"chance": baseline(), "a": alone}) == {"width": ["a"]}
    with_ = {"chance": baseline(added="2027-01-01"), "a": alone}
    assert listing(with_, {"chance": True}) == listing({"a": alone}, {})


def test_table_of_contents_links_to_the_headings() -> None:
    text = listing(load_catalog(), {})
    headings = [row[3:] for row in text.splitlines() if row.startswith("## ")]
    assert headings[0] == "Start here"
    for heading in headings[1:]:
        assert heading in GROUPS.values()
        assert f"- [{heading}](#{anchor(heading)})" in text
    assert anchor("Width: heads, channels") == "width-heads-channels"


def test_every_kind_has_a_group() -> None:
    """A kind without group would be omitted silently."""
    kinds = {kind for kind in vocabulary()["kind"].terms if kind not in ("method", "baseline")}
    assert kinds == set(KINDS)
    assert set(KINDS.values()) < set(GROUPS)


def test_ten_papers_to_start_with() -> None:
    papers = load_catalog()
    text = listing(papers, {})
    assert len(START) == text.count("\n1. ") == 10
    assert all(papers[slug].has_paper for slug in START)


@pytest.mark.parametrize(
    ("name", "title", "shown"),
    [
        ("Wanda", "A Simple Approach", "**Wanda**: A Simple Approach"),
        ("Wanda", "Wanda: A Simple Approach", "**Wanda**: A Simple Approach"),
        ("Wanda", "Wandas Children", "**Wanda**: Wandas Children"),
        ("Wanda", "Wanda the Pruner", "**Wanda** the Pruner"),
        ("Wanda", "Wanda", "**Wanda**"),
        ("DejaVu", "Deja Vu: Sparsity", "**Deja Vu**: Sparsity"),
        ("DejaVu", "Deja Vus: Sparsity", "**DejaVu**: Deja Vus: Sparsity"),
        (None, "Truth", "Truth"),
    ],
)
def test_names_are_bold_and_stand_once(name: str | None, title: str, shown: str) -> None:
    assert headline(paper(name=name).model_copy(update={"title": title})) == shown


@pytest.mark.parametrize(
    ("methods", "mark"),
    [
        ({"a": True}, " · [**implemented and measured here**](implementations/a)"),
        ({"a": False}, " · [**implemented here**](implementations/a)"),
        ({"b": True}, ""),
    ],
)
def test_line_ends_with_the_mark_and_the_tagline(methods: dict[str, bool], mark: str) -> None:
    one = paper(**cut("structured"))
    tagged = one.model_copy(update={"tagline": "Removes *all*."})
    assert item("a", one, methods) == line(one) + mark
    assert item("a", tagged, methods) == f"{line(one)}{mark} · Removes \\*all\\*."


def test_committed_list_is_current() -> None:
    advice = "run `python tools/export.py LIST.md --out .`"
    committed = (REPOSITORY / "LIST.md").read_text(encoding="utf-8")
    assert committed == listing(load_catalog(), measured()), advice
