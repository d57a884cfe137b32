"""The page Learn: its figures match the measurements."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from implementations.harness.results.record import Record
from tools.site import svg_figures
from tools.site.atlas import Atlas
from tools.site.pages import learn


@pytest.fixture(scope="module")
def atlas(real: Atlas) -> Atlas:
    return real


@pytest.fixture(scope="module")
def page(atlas: Atlas) -> str:
    return dict(learn.pages(atlas))["learn/index.md"]


def test_renders_without_records_and_pictures(tmp_path: Path) -> None:
    page = dict(learn.pages(Atlas({}, {}, root=tmp_path)))["learn/index.md"]
    assert "No results have been published yet" in page
    assert "<figure" in page  # the drawing of granularities needs neither
    assert "atlas-picture" not in page


def test_samples_are_sorted_from_dense_to_worst(records: list[Record]) -> None:
    found = learn.samples(Atlas({}, {}, tuple(records)))
    ratios = [learn.ratio(record) for record in found]
    assert ratios == sorted(ratios)
    assert ratios[-1] == max(map(learn.ratio, records))


def test_the_fastest_run_has_a_low_ratio_to_dense(records: list[Record]) -> None:
    found = learn.fastest(Atlas({}, {}, tuple(records)))
    assert found is not None
    assert found[2] <= learn.WITHIN
    assert learn.fastest(Atlas({}, {})) is None


# Figures


def parsed(svg: Any) -> ElementTree.Element:
    return ElementTree.fromstring(str(svg))


@pytest.mark.parametrize(
    "shape", [shape for shape in svg_figures.SHAPES if shape[0] != "unstructured"]
)
def test_each_drawn_matrix_is_half_pruned(shape: tuple[str, str, str, str]) -> None:
    assert len(cells(shape[3])) == 16 * 16 / 2


def test_the_drawn_pattern_keeps_two_of_every_four() -> None:
    gone = cells(next(path for name, _, _, path in svg_figures.SHAPES if name == "semi-structured"))
    for y in range(16):
        for group in range(4):
            assert sum((4 * group + i, y) in gone for i in range(4)) == 2


def cells(path: str) -> set[tuple[int, int]]:
    """Return the unit cells that rectangles such as `M1 2h3v4h-3z` cover."""
    found = re.findall(r"M(\d+) (\d+)h(\d+)v(\d+)h-\d+z", path)
    return {
        (x + i, y + j)
        for x, y, wide, high in (map(int, one) for one in found)
        for i in range(wide)
        for j in range(high)
    }


def test_a_patch_draws_removed_weights() -> None:
    drawing = parsed(svg_figures.patch(["0110", "1001", "0000"], "a <mask>"))
    assert drawing.attrib["aria-label"] == "a <mask>"
    assert drawing.attrib["viewBox"] == "0 0 4 3"
    assert [path.attrib["d"] for path in drawing] == ["M1 0.5h2M0 1.5h1M3 1.5h1"]


def test_a_patch_marks_weights_that_the_first_mask_keeps() -> None:
    drawing = parsed(svg_figures.patch(["0110", "1001"], "a mask", ["0011", "1001"]))
    assert [(path.attrib["class"], path.attrib["d"]) for path in drawing] == [
        ("is-gone", "M2 0.5h1M0 1.5h1M3 1.5h1"),
        ("is-gone is-new", "M1 0.5h1"),
    ]
    assert svg_figures.columns(["0110", "1011"]) == (0.5, 1.0)


def test_shares_are_drawn_by_block_and_matrix() -> None:
    measured = [{"q": 0.25, "up": 0.5}, {"q": 1.0, "up": 0.0}]
    for width in (svg_figures.WIDE, svg_figures.NARROW):
        drawing = parsed(svg_figures.shares(measured, width))
        rects = drawing.findall("rect")
        assert [rect.attrib["fill-opacity"] for rect in rects] == ["0.28", "0.52", "1.00", "0.04"]
        assert rects[0].findtext("title") == "decoder layer 0, q: 25 %"


def test_sensitivity_is_drawn_on_a_log_axis() -> None:
    measured = {"dense": 10.0, "pruned": [10.0, 20.0], "left_out": [100.0, 1000.0]}
    for width in (svg_figures.WIDE, svg_figures.NARROW):
        drawing = parsed(svg_figures.sensitivity(measured, width))
        marks = [path for path in drawing.findall("path") if path.attrib["class"] != "is-rule"]
        titles = [mark.findtext("title") for mark in marks]
        assert titles[0] == "decoder layer 0: 10.00 times dense"
        heights = {
            title: float(re.match(r"M\S+ (\S+?)m", mark.attrib["d"])[1])  # type: ignore[index]
            for title, mark in zip(titles, marks, strict=True)
        }
        steps = [
            heights[f"decoder layer {b}: {t} times dense"]
            for b, t in ((0, "1.00"), (0, "10.00"), (1, "100.0"))
        ]
        assert steps[0] - steps[1] == pytest.approx(steps[1] - steps[2], abs=0.2)


def test_both_axes_are_named() -> None:
    measured = {"dense": 10.0, "pruned": [10.0, 20.0], "left_out": [100.0, 1000.0]}
    for drawing, names in (
        (
            svg_figures.sensitivity(measured, svg_figures.WIDE),
            {"perplexity, times dense", "decoder layer"},
        ),
        (
            svg_figures.shares([{"q": 0.25, "up": 0.5}], svg_figures.NARROW),
            {"matrix", "decoder layer"},
        ),
    ):
        assert names <= {text.text for text in parsed(drawing).findall("text")}


def test_pictures_name_their_source(repository: Path, page: str) -> None:
    for name in ("masks", "blocks"):
        measured = svg_figures.picture(name, repository)
        assert measured["command"] in page
        assert measured["model_sha256"][:8] in page
        assert measured["protocol"] in page
        module = measured["command"].split()[2]  # python -m MODULE ...
        assert find_spec(module) is not None, measured["command"]
