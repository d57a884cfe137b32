"""The lineage: nothing overlaps, time goes to the right, every relation is drawn and listed."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.catalog.invented import baseline
from tools.catalog.schema.paper import Outside, Paper, Relations, Sources, Taxonomy
from tools.site import lineage
from tools.site.atlas import Atlas, read
from tools.site.lineage import Box, draw, graph
from tools.site.pages.lineage import pages


def paper(
    name: str, date: str, words: tuple[str, ...] = ("structured",), **relations: Any
) -> Paper:
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
        taxonomy=Taxonomy.model_construct(granularity=words),
        relations=Relations.model_construct(**relations),
        sources=Sources.model_construct(checked="2026-11-25", from_=("paper",)),
    )


def atlas_of(**papers: Paper) -> Atlas:
    return Atlas(papers, {})


@pytest.fixture(scope="module")
def real(repository: Path) -> Atlas:
    return read(repository)


def overlapping(boxes: Mapping[str, Box]) -> list[tuple[str, str]]:
    return [
        (a.node.id, b.node.id)
        for a, b in itertools.combinations(boxes.values(), 2)
        if a.x < b.right and b.x < a.right
        if a.y < b.y + b.node.height and b.y < a.y + a.node.height
    ]


def crowd(count: int) -> Atlas:
    """A catalog in which each paper builds on two earlier ones of the same few months."""
    lanes = ("unstructured", "semi-structured", "structured")
    return atlas_of(
        **{
            f"p{i}": paper(
                f"Method {i}",
                f"{2022 + 4 * i // count}-{1 + 7 * i % 12:02}-11",
                (lanes[i % 3],),
                builds_on=tuple(f"p{i // k}" for k in (2, 3) if i // k != i),
            )
            for i in range(count)
        }
    )


def test_nothing_overlaps(real: Atlas) -> None:
    for atlas in (real, crowd(300)):
        drawing = draw(graph(atlas))
        assert len(drawing.boxes) > 20
        assert overlapping(drawing.boxes) == []
        for box in drawing.boxes.values():
            assert box.right <= drawing.width
            assert box.y + box.node.height <= drawing.height


def test_boxes_stand_in_their_lane_and_year(real: Atlas) -> None:
    drawing = draw(graph(real))
    lanes = {lane.label: lane for lane in drawing.lanes}
    years = {year: (x, x + width) for year, x, width in drawing.years}
    for box in drawing.boxes.values():
        lane = lanes[box.node.lane]
        assert lane.y < box.y
        assert box.y + box.node.height < lane.y + lane.height
        start, end = years[box.node.year]
        assert start <= box.x < end


def test_time_goes_from_left_to_right(real: Atlas) -> None:
    drawing = draw(graph(real))
    boxes = list(drawing.boxes.values())
    whens = [(box.node.year, box.node.month) for box in boxes]
    assert whens == sorted(whens)
    assert [box.x for box in boxes] == sorted(box.x for box in boxes)


def test_every_relation_of_the_catalog_is_drawn_and_listed(real: Atlas) -> None:
    wanted = {
        (slug, other if isinstance(other, str) else f"outside-{other.arxiv or other.doi}")
        for slug, one in real.papers.items()
        for _, other in one.relations
        if not isinstance(other, str) or real.papers[other].has_paper
    }
    (path, page), *_ = pages(real)
    assert path == "lineage.md"
    drawn = set(re.findall(r'data-earlier="([^"]*)" data-later="([^"]*)"', page))
    assert {(later, earlier) for earlier, later in drawn} == wanted
    listed = page[page.index("The same as a list") :]
    for later, earlier in wanted:
        (entry,) = re.findall(rf'<li><a href="papers/{later}\.html">.*?</li>', listed)
        place = earlier.removeprefix("outside-")
        assert (place if place != earlier else f'<a href="papers/{earlier}.html">') in entry
    for slug in real.papers:
        assert f"papers/{slug}.html" in page


def test_a_baseline_without_a_paper_has_no_place_in_time() -> None:
    made = atlas_of(
        chance=baseline(relations={"compares-with": ["a"]}),
        a=paper("A", "2023-01-02", compares_with=("chance",)),
        b=paper("B", "2023-05-01", builds_on=("a",)),
    )
    found = graph(made)
    assert [node.id for node in found.nodes] == ["a", "b"]
    assert [(edge.later, edge.earlier) for edge in found.edges] == [("b", "a")]
    assert "Without a relation so far" in dict(pages(made))["lineage.md"]


def test_lineage_is_large_and_comparison_small() -> None:
    found = graph(
        atlas_of(
            a=paper("A", "2023-01-02"),
            b=paper("B", "2023-05-01", builds_on=("a",)),
            c=paper("C", "2024-01-01", compares_with=("a",)),
            d=paper("D", "2024-02-01", extends=("b",), compares_with=("b",)),
            alone=paper("E", "2024-02-01"),
        )
    )
    assert [(node.id, node.large) for node in found.nodes] == [
        ("a", True),
        ("b", True),
        ("c", False),
        ("d", True),
    ]
    # Of two relations with the same paper the nearer one counts.
    assert [(edge.later, edge.how) for edge in found.edges] == [
        ("b", "builds-on"),
        ("c", "compares-with"),
        ("d", "extends"),
    ]


def test_papers_outside_the_catalog_are_quiet_and_lead_outside() -> None:
    surgeon = Outside.model_construct(title="Optimal <i>Brain</i> Surgeon", year=1993)
    known = Outside.model_construct(title="Known", year=2020, arxiv="2001.00001")
    atlas = atlas_of(a=paper("A", "2023-01-02", builds_on=(surgeon, known)))
    outside = [node for node in graph(atlas).nodes if node.outside]
    assert [node.large for node in outside] == [False, False]
    page = dict(pages(atlas))["lineage.md"]
    assert 'href="https://arxiv.org/abs/2001.00001"' in page
    assert "Optimal &lt;i&gt;Brain&lt;/i&gt; Surgeon" in page
    assert "<i>Brain" not in page


def test_a_relation_with_itself_or_with_nobody_is_left_out() -> None:
    found = graph(atlas_of(a=paper("A", "2023-01-02", builds_on=("a", "missing"))))
    assert found.nodes == found.edges == ()
    page = dict(pages(atlas_of(a=paper("A", "2023-01-02"))))["lineage.md"]
    assert "No entry of the catalog names a relation yet" in page


def test_long_and_hostile_names_fit_their_boxes() -> None:
    name = "<script>alert(1)</script>" + "w" * 10_000
    atlas = atlas_of(a=paper("A", "2023-01"), b=paper(name, "2023-02", builds_on=("a",)))
    boxes = draw(graph(atlas)).boxes
    assert len(boxes["b"].node.label) == lineage.LONGEST
    assert boxes["b"].node.width < 200
    assert "<script>" not in dict(pages(atlas))["lineage.md"]


@pytest.mark.parametrize(
    ("date", "year", "month"),
    [("2023-03-17", 2023, 2.5), ("2023-03", 2023, 2.0), ("2023", 2023, 5.5)],
)
def test_dates_of_any_precision_have_a_place(date: str, year: int, month: float) -> None:
    (first, _) = graph(atlas_of(a=paper("A", date), b=paper("B", "2024", builds_on=("a",)))).nodes
    assert (first.year, first.month) == (year, pytest.approx(month, abs=0.05))


def test_the_layout_is_linear() -> None:
    def spent(count: int) -> float:
        found = graph(crowd(count))
        start = time.process_time()
        draw(found)
        return time.process_time() - start

    small, large = min(spent(1000) for _ in range(3)), min(spent(8000) for _ in range(3))
    assert large < 1.0
    assert large / small < 8 * 3
