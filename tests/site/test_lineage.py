"""The drawing of related papers: no overlaps, earlier papers on the left."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Mapping
from typing import Any

import pytest

from tests.catalog.invented import baseline
from tools.catalog.schema.paper import Outside, Paper, Relations, Sources, Taxonomy
from tools.site import lineage
from tools.site.atlas import Atlas
from tools.site.lineage import HEIGHT, MAX_DIRECT, MAX_PAPERS, Box, Drawing, around, graph
from tools.site.pages import paper as paper_pages


def paper(name: str, date: str, **relations: Any) -> Paper:
    return Paper.model_construct(
        title=f"{name}: a paper",
        name=name,
        authors=("A. Uthor",),
        kind="method",
        summary="",
        year=int(date[:4]),
        submitted=date,
        status="preprint",
        added="2026-11-25",
        taxonomy=Taxonomy.model_construct(granularity=("structured",)),
        relations=Relations.model_construct(**relations),
        sources=Sources.model_construct(checked="2026-11-25", from_=("paper",)),
    )


def atlas_of(**papers: Paper) -> Atlas:
    return Atlas(papers, {})


def overlapping(boxes: Mapping[str, Box]) -> list[tuple[str, str]]:
    return [
        (a.node.id, b.node.id)
        for a, b in itertools.combinations(boxes.values(), 2)
        if a.x < b.right and b.x < a.right
        if a.y < b.y + HEIGHT and b.y < a.y + HEIGHT
    ]


def crowd(count: int) -> Atlas:
    """Make a catalog in which half of the papers build on one or two earlier ones."""
    return atlas_of(
        **{
            f"p{i}": paper(
                f"Method {i}",
                f"{2022 + 5 * i // count}-{1 + 60 * i // count % 12:02}-11",
                builds_on=tuple(f"p{i // k}" for k in ((2,) if i % 3 else (2, 5)))
                if i > 1 and i % 2
                else (),
                compares_with=("p0",) if i else (),
            )
            for i in range(count)
        }
    )


def ends(drawing: Drawing) -> set[tuple[str, str, str]]:
    return {(edge.earlier, edge.later, edge.how) for edge, _ in drawing.edges}


def test_boxes_do_not_overlap_and_are_inside_the_drawing(real: Atlas) -> None:
    crowded = around(graph(crowd(500)), "p0")
    for drawing in (
        crowded,
        *(around(graph(real), slug) for slug in ("wanda", "slimgpt", "magnitude")),
    ):
        assert drawing
        assert len(drawing.boxes) > 5
        assert overlapping(drawing.boxes) == []
        for box in drawing.boxes.values():
            assert 0 <= box.x < box.right <= drawing.width
            assert 0 <= box.y < box.y + HEIGHT <= drawing.height


def test_earlier_papers_are_left_of_later_ones(real: Atlas) -> None:
    drawing = around(graph(real), "wanda")
    assert drawing
    for edge, _ in drawing.edges:
        assert drawing.boxes[edge.earlier].right < drawing.boxes[edge.later].x, edge


# Around one paper


def test_draws_two_generations_and_own_comparisons() -> None:
    found = graph(
        atlas_of(
            oldest=paper("Oldest", "2019-01-02"),
            older=paper("Older", "2020-01-02", builds_on=("oldest",)),
            old=paper("Old", "2021-01-02", builds_on=("older",), compares_with=("oldest",)),
            rival=paper("Rival", "2021-01-02", builds_on=("oldest",)),
            one=paper("One", "2022-01-02", extends=("old",), compares_with=("rival",)),
            child=paper("Child", "2023-01-02", builds_on=("one",), compares_with=("rival",)),
            grandchild=paper("Grandchild", "2024-01-02", builds_on=("child",)),
            judge=paper("Judge", "2024-01-02", compares_with=("one",)),
        )
    )
    drawing = around(found, "one")
    assert drawing
    assert ends(drawing) == {
        ("older", "old", "builds-on"),
        ("old", "one", "extends"),
        ("rival", "one", "compares-with"),
        ("one", "child", "builds-on"),
        ("child", "grandchild", "builds-on"),
        ("one", "judge", "compares-with"),
    }
    left, right = drawing.boxes["old"].right, drawing.boxes["child"].x
    assert left < drawing.boxes["one"].x < drawing.boxes["one"].right < right
    assert around(found, "nobody") is None


def test_draws_all_direct_builders_and_counts_the_other_comparisons() -> None:
    many = {f"p{i}": paper(f"P{i}", "2023-02-02", builds_on=("one",)) for i in range(MAX_DIRECT)}
    judges = {f"j{i}": paper(f"J{i}", "2024-02-02", compares_with=("one",)) for i in range(3)}
    late = paper("Late", "2025-01-02", builds_on=("one",))
    heir = paper("Heir", "2026-01-02", builds_on=("late",))
    one = paper("One", "2022-01-02")
    atlas = atlas_of(one=one, **judges, **many, late=late, heir=heir)
    drawing = around(graph(atlas), "one")
    assert drawing
    children = {later for earlier, later, _ in ends(drawing) if earlier == "one"}
    assert children == {*many, "late", "more-later"}
    assert "heir" in drawing.boxes
    assert drawing.boxes["more-later"].node.name == "3 more comparisons"
    page = dict(paper_pages.pages(atlas))["papers/one.md"]
    assert 'href="one.html#related"' in page
    assert 'aria-label="3 more comparisons"' in page


def test_comparisons_fill_the_room_that_builders_leave() -> None:
    judges = {f"j{i}": paper(f"J{i}", "2024-02-02", compares_with=("one",)) for i in range(20)}
    child = paper("Child", "2025-01-02", extends=("one",))
    found = graph(atlas_of(one=paper("One", "2022-01-02"), child=child, **judges))
    drawing = around(found, "one")
    assert drawing
    assert len(drawing.boxes.keys() & judges.keys()) == MAX_DIRECT - 1
    assert drawing.boxes["more-later"].node.name == f"{21 - MAX_DIRECT} more comparisons"


@pytest.mark.parametrize("heirs", [MAX_PAPERS - 1, MAX_PAPERS])
def test_the_second_generation_is_drawn_if_all_of_it_fits(heirs: int) -> None:
    later = {f"h{i}": paper(f"H{i}", "2024-02-02", builds_on=("child",)) for i in range(heirs)}
    child = paper("Child", "2023-01-02", builds_on=("one",))
    drawing = around(graph(atlas_of(one=paper("One", "2022-01-02"), child=child, **later)), "one")
    assert drawing
    drawn = drawing.boxes.keys() - {"one", "child"}
    assert drawn == (later.keys() if heirs < MAX_PAPERS else set())


def test_every_paper_with_a_relation_has_a_drawing(real: Atlas, real_pages: dict[str, str]) -> None:
    found = graph(real)
    for slug in real.papers:
        page = real_pages[f"papers/{slug}.md"]
        assert ('<figure class="atlas-kin"' in page) is (slug in found.by_id), slug
        if slug in found.by_id:
            centre = re.findall(r'aria-current="true" data-id="([^"]*)"', page)
            assert centre == [slug]


# Excluded papers and hostile input


def test_a_baseline_without_a_paper_is_not_drawn() -> None:
    made = atlas_of(
        chance=baseline(relations={"compares-with": ["a"]}),
        a=paper("A", "2023-01-02", compares_with=("chance",)),
        b=paper("B", "2023-05-01", builds_on=("a",)),
    )
    found = graph(made)
    assert [node.id for node in found.nodes] == ["a", "b"]
    assert [(edge.later, edge.earlier) for edge in found.edges] == [("b", "a")]


def test_the_closest_of_two_relations_is_used_and_comparisons_are_not_lineage() -> None:
    found = graph(
        atlas_of(
            a=paper("A", "2023-01-02"),
            b=paper("B", "2023-05-01", builds_on=("a",)),
            c=paper("C", "2024-01-01", compares_with=("a",)),
            d=paper("D", "2024-02-01", extends=("b",), compares_with=("b",)),
            alone=paper("E", "2024-02-01"),
        )
    )
    assert [node.id for node in found.nodes] == ["a", "b", "c", "d"]
    assert [node.id for node in found.lineage.nodes] == ["a", "b", "d"]
    assert [(edge.later, edge.how) for edge in found.edges] == [
        ("b", "builds-on"),
        ("c", "compares-with"),
        ("d", "extends"),
    ]


def test_papers_outside_the_catalog_link_outside() -> None:
    surgeon = Outside.model_construct(title="Optimal <i>Brain</i> Surgeon", year=1993)
    known = Outside.model_construct(title="Known: A Paper", year=2020, arxiv="2001.00001")
    atlas = atlas_of(a=paper("A", "2023-01-02", builds_on=(surgeon, known)))
    page = dict(paper_pages.pages(atlas))["papers/a.md"]
    assert page.count("atlas-node--outside") == 2
    assert 'href="https://arxiv.org/abs/2001.00001"' in page
    assert ">Known</text>" in page
    assert "Optimal &lt;i&gt;Brain&lt;/i&gt; Surgeon" in page
    assert "<i>Brain" not in page


def test_relations_with_itself_or_a_missing_paper_are_ignored() -> None:
    found = graph(atlas_of(a=paper("A", "2023-01-02", builds_on=("a", "missing"))))
    assert found.nodes == found.edges == ()
    assert around(found, "a") is None


def test_circular_relations_are_drawn() -> None:
    atlas = atlas_of(
        a=paper("A", "2023-01-02", builds_on=("b",)), b=paper("B", "2023-01-03", builds_on=("a",))
    )
    drawing = around(graph(atlas), "a")
    assert drawing
    assert len(drawing.edges) == 2


def test_long_and_hostile_names_fit_their_boxes() -> None:
    name = "<script>alert(1)</script>" + "w" * 10_000
    atlas = atlas_of(a=paper("A", "2023-01"), b=paper(name, "2023-02", builds_on=("a",)))
    drawing = around(graph(atlas), "a")
    assert drawing
    assert len(drawing.boxes["b"].node.label) == lineage.MAX_LETTERS
    assert drawing.boxes["b"].node.width < 200
    assert all("<script>" not in page for page in dict(paper_pages.pages(atlas)).values())


@pytest.mark.parametrize(
    ("date", "year", "month"),
    [("2023-03-17", 2023, 2.5), ("2023-03", 2023, 2.0), ("2023", 2023, 5.5)],
)
def test_dates_of_any_precision_are_accepted(date: str, year: int, month: float) -> None:
    (first, _) = graph(atlas_of(a=paper("A", date), b=paper("B", "2024", builds_on=("a",)))).nodes
    assert (first.year, first.month) == (year, pytest.approx(month, abs=0.05))


def test_five_hundred_papers_are_laid_out_in_seconds() -> None:
    found = graph(crowd(500))
    start = time.process_time()
    for node in found.nodes:
        around(found, node.id)
    assert time.process_time() - start < 30
