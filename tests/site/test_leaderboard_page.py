"""The leaderboard and its charts: every number comes from the records."""

from __future__ import annotations

import json
import math
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from xml.etree import ElementTree

import pytest
import vl_convert

from implementations.harness.results.boards import FAMILIES, QUANTISED, boards
from implementations.harness.results.metric import PERPLEXITY
from implementations.harness.results.protocol import PROTOCOLS
from implementations.harness.results.record import NO_SPEED_UP, Dense, Footprint, Record
from tests.keyed import changed
from tests.site.conftest import recovered
from tools.site import board_columns, chart, vega
from tools.site.addresses import record_address, record_anchor
from tools.site.atlas import Atlas
from tools.site.formatting import memory, number, seconds, times
from tools.site.pages import leaderboard

METRIC = PROTOCOLS["smol"].metrics[0]
Row = dict[str, ElementTree.Element]


@pytest.fixture(scope="module")
def made(atlas: Atlas) -> dict[str, str]:
    return dict(leaderboard.pages(atlas))


@pytest.fixture(scope="module")
def page(made: dict[str, str]) -> str:
    return made["leaderboard.md"]


@pytest.fixture(scope="module")
def data(made: dict[str, str]) -> Any:
    """The data of the board that the script loads."""
    return json.loads(made["leaderboard/smol-smollm2-135m-float32-cpu.json"])


def text(element: ElementTree.Element) -> str:
    return " ".join("".join(element.itertext()).split())


def heads(page: str) -> dict[str, dict[str, str]]:
    """Return the attributes of each heading of the first table, by label."""
    (head,) = re.findall(r"<thead>.*?</thead>", page, re.DOTALL)[:1]
    return {text(cell): cell.attrib for cell in ElementTree.fromstring(head).iter("th")}


def rows(page: str) -> Iterator[Row]:
    """Yield the rows with their cells by label; the row headers are `name` and `removed`."""
    for table in re.findall(r"<table class=\"atlas-table atlas-board.*?</table>", page, re.DOTALL):
        table = table.replace(" data-search-exclude", "")
        for row in ElementTree.fromstring(table).iter("tr"):
            if "data-family" in row.attrib:
                rank, name, removed, *others = row
                labelled = {cell.attrib.get("data-label", ""): cell for cell in others}
                yield {"#": rank, "name": name, "removed": removed, "row": row, **labelled}


def settings(records: list[Record]) -> list[list[Record]]:
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        groups[record.group].append(record)
    return list(groups.values())


def row_of(page: str, record: Record) -> Row:
    address = record_address(record)
    found = [
        row for row in rows(page) if any(a.get("href") == address for a in row["Records"].iter("a"))
    ]
    assert len(found) == 1, record.name
    return found[0]


def values_of(data: Any, page: str, record: Record) -> dict[str, list[Any]]:
    """Return the script's values for a record's row, by the heading of the column."""
    address = record_address(record)
    (row,) = [row for row in data["rows"] if address in dict(map(reversed, row["records"]))]
    labels = list(heads(page))[3:-1]
    return {"removed": row["removed"], **dict(zip(labels, row["cells"], strict=True))}


def test_every_column_matches_the_records(page: str, data: Any, records: list[Record]) -> None:
    assert len(list(rows(page))) == len(data["rows"]) == len(settings(records))
    for group in settings(records):
        first = group[0]
        row, values = row_of(page, first), values_of(data, page, first)
        footprint, speed = first.footprint, first.speed
        for label, metric in zip(("Wikipedia", "C4"), first.protocol.metrics, strict=True):
            mean = statistics.fmean(record.values[metric] for record in group)
            assert values[label][0] == pytest.approx(mean, rel=1e-12)
            assert text(row[label]).split(" ")[0] == number(mean)
        ranking = first.protocol.metrics[0]
        ratios = [r.values[ranking] / r.dense.values[ranking] for r in group]
        ratio = statistics.fmean(ratios)
        assert values["× dense"][0] == pytest.approx(ratio, rel=1e-12)
        spread = f" ± {number(statistics.stdev(ratios))}" if len(group) > 1 else ""
        assert text(row["× dense"]).removeprefix("collapsed ") == number(ratio) + spread
        assert ("collapsed" in text(row["× dense"])) == (ratio > PERPLEXITY.collapse)
        assert values["Parameters"][0] == footprint.nonzero
        assert values["MACs"][0] == footprint.macs
        assert values["Memory"][0] == max(record.peak.bytes for record in group)
        prune = statistics.fmean(record.seconds["prune"] for record in group)
        assert values["Pruning"][0] == pytest.approx(prune)
        achieved = statistics.fmean(record.achieved for record in group)
        assert values["removed"][0] == pytest.approx(achieved)
        for label, rate in (("Prefill", speed.prefill), ("Speed", speed.decode)):
            if rate is None:
                assert text(row[label]) == "no gain"
                assert row[label].attrib["title"] == NO_SPEED_UP
                assert values[label][0] is None
            else:
                assert values[label][0] == rate.ratio
                shown = f"{number(rate.ratio)} ({number(rate.low)}–{number(rate.high)})"
                assert text(row[label]) == shown


def test_rows_have_the_command_that_repeats_them(page: str, records: list[Record]) -> None:
    for record in records:
        if record.seed == 0:
            (button,) = row_of(page, record)["Records"].iter("button")
            assert button.attrib["data-clipboard-text"] == record.command


def test_every_column_can_be_sorted(page: str) -> None:
    keys = [head["data-sort"] for head in heads(page).values()]
    assert len(set(keys)) == len(keys) == 13
    larger = [head["data-sort"] for head in heads(page).values() if "data-down" in head]
    assert larger == ["prefill", "speed", "seeds"]


def test_rows_show_their_family(page: str, records: list[Record]) -> None:
    (board,) = boards(records)
    for shown in board.rows:
        row = row_of(page, shown.first)
        assert FAMILIES[int(row["row"].attrib["data-family"])] == shown.family


# Ranks and shares


def test_rows_are_ranked_within_one_sparsity(page: str) -> None:
    found = {f"{text(row['name'])} {text(row['removed'])}": text(row["#"]) for row in rows(page)}
    half = ("SparseGPT 50 %", "Wanda 50 %", "FLAP 50 %", "Magnitude 50 %")
    assert [found[name] for name in half] == ["1", "2", "3", "4"]
    assert [found[f"{name} 2:4"] for name in ("SparseGPT", "Wanda")] == ["1", "2"]
    # Collapsed models have no rank.
    assert found["Magnitude 2:4"] == found["Magnitude 70 %"] == ""


def test_equal_ratios_share_a_rank_and_quantised_models_have_none(records: list[Record]) -> None:
    best, other, third = (
        next(r for r in records if r.method == method and r.asked == 0.2)
        for method in ("flap", "flap", "shortgpt")
    )
    equal = changed(other, method="sliceGPT".lower())
    bits = third.footprint.model_copy(update={"bits": 1.5})
    fewer = changed(third, method="wanda", footprint=bits)
    (board,) = boards([best, equal, third, fewer])
    found = board_columns.ranks(board, board.rows)
    assert {r.key: found.get(r.key) for r in (best, equal, third, fewer)} == {
        best.key: 1,
        equal.key: 1,
        third.key: 3,
        fewer.key: None,
    }


@pytest.mark.parametrize(
    ("asked", "pattern", "name"),
    [(0.5, None, "50"), (0.69999, None, "70"), (0.345, None, "34.5"), (0.5, "2:4", "2:4")],
)
def test_share_is_the_requested_sparsity(
    records: list[Record], asked: float, pattern: str | None, name: str
) -> None:
    configuration = {"sparsity": asked, "pattern": pattern}
    record = changed(records[0], asked=asked, achieved=asked - 1e-5, configuration=configuration)
    assert board_columns.share(record) == name
    (board,) = boards([record])
    chosen = {value: count for value, _, count in board_columns.shares(board)}
    assert chosen[name if name in board_columns.CHIPS else "other"] == 1
    assert sum(chosen.values()) == 1


def test_the_filters_offer_what_the_board_has(page: str, atlas: Atlas) -> None:
    menus = {
        name: re.findall(rf'name="{name}" value="([^"]*)".*?atlas-count">(\d+)<', page)
        for name in ("m", "needs")
    }
    found = Counter(row.method for row in atlas.boards[0].rows)
    assert dict(menus["m"]) == {slug: str(count) for slug, count in found.items()}
    assert dict(menus["needs"]) == {"none": "4", "forward": "15"}
    assert re.findall(r'value="([^"]*)" disabled', page) == []


# Charts


def test_points_match_the_records(atlas: Atlas, records: list[Record]) -> None:
    (board,) = atlas.boards
    found = {point["id"]: point for point in chart.points(board, atlas.names)}
    assert len(found) == len(settings(records))
    for group in settings(records):
        first = min(group, key=lambda record: record.seed)
        point = found[first.key]
        ranking = first.protocol.metrics[0]
        ratio = statistics.fmean(r.values[ranking] / r.dense.values[ranking] for r in group)
        assert point["ratio"] == pytest.approx(min(ratio, PERPLEXITY.collapse))
        assert point["state"] == ("collapsed" if ratio > PERPLEXITY.collapse else "kept")
        assert point["size"] == pytest.approx(statistics.fmean(r.achieved for r in group))
        assert point["time"] == pytest.approx(12.5)
        assert point["speed"] == (first.speed.decode.ratio if first.speed.decode else None)
        assert (NO_SPEED_UP in point["more"]) == (not first.structured)
        assert point["href"] == record_address(first)


def test_data_of_the_script_links_points_and_rows(
    made: dict[str, str], data: Any, atlas: Atlas
) -> None:
    assert list(json.loads(made["leaderboard/charts.json"])) == ["size", "speed", "time"]
    (board,) = atlas.boards
    wanted = [one | {"id": i} for i, one in enumerate(chart.points(board, atlas.names))]
    assert data["points"] == wanted
    for row in data["rows"]:
        assert data["points"][row["point"]]["href"] == row["records"][0][1]


@pytest.mark.parametrize(("share", "end"), [(0.69999, 0.7), (0.50016, 0.5), (0.25, 0.3)])
def test_the_largest_sparsity_has_a_tick(share: float, end: float, records: list[Record]) -> None:
    made = changed(records[0], asked=share, achieved=share, configuration={"sparsity": share})
    svg = chart.draw(boards([made])[0], {})
    ticks = re.findall(r">(\d+) %</text>", svg)
    assert ticks[-1] == f"{100 * end:.0f}"


def test_points_at_the_same_position_share_a_label(records: list[Record]) -> None:
    one = next(r for r in records if r.method == "flap" and r.asked == 0.2)
    nearly = [changed(one, method=name, achieved=one.achieved - 1e-5) for name in ("cfsp", "fasp")]
    (board,) = boards([one, *nearly])
    assert ">flap, cfsp and 1 more</text>" in chart.draw(board, {})
    (board,) = boards([one, nearly[0]])
    assert ">flap, cfsp</text>" in chart.draw(board, {})
    # A point with another ratio has its own label.
    values = {name: 1.1 * value for name, value in one.values.items()}
    (board,) = boards([one, changed(nearly[0], values=values)])
    assert {">flap</text>", ">cfsp</text>"} <= set(
        re.findall(r">\w+</text>", chart.draw(board, {}))
    )


def test_labels_stay_within_the_picture(records: list[Record]) -> None:
    (board,) = boards(records)
    long = {record.method: f"{record.method} with a long name" for record in records}
    for size in (chart.WIDE, chart.NARROW):
        for left, anchor, name in re.findall(
            r'text-anchor="(\w+)" transform="translate\(([\d.]+),[^>]*>([^<]*long[^<]*)<',
            chart.draw(board, long, size),
        ):
            width = 0.55 * size.font * len(name)
            assert left == "end" or float(anchor) + width < size.width


def test_labels_of_the_published_chart_do_not_overlap(real: Atlas) -> None:
    made = chart.points(real.boards[0], real.names)
    ratios = {point["id"]: point["ratio"] for point in made}
    for size in (chart.WIDE, chart.NARROW):
        line = math.log(1.08 * max(ratios.values())) * (size.font + 2) / (size.height - 60)
        placed = chart._labels(made, size)
        assert len(placed) > 8
        for one in placed:
            assert math.log(one["ratio"] / ratios[one["id"]]) < 1.5 * line
            for other in placed:
                beside = one["end"] < other["start"] or other["end"] < one["start"]
                apart = abs(math.log(one["ratio"] / other["ratio"])) > 0.99 * line
                assert one is other or beside or apart, (one["label"], other["label"])


def drawing(against: chart.Axis, points: list[dict[str, Any]]) -> str:
    spec = chart.specification(against, live=False)
    spec["data"][0]["values"] = points
    spec["data"].append({"name": "labels", "values": []})
    return str(vl_convert.vega_to_svg(json.dumps(spec)))


@pytest.mark.parametrize("against", chart.AXES, ids=lambda one: one.name)
def test_each_chart_draws_the_measured_values(against: chart.Axis, atlas: Atlas) -> None:
    points = chart.points(atlas.boards[0], atlas.names)
    placed = [point for point in points if point[against.name] is not None]
    svg = drawing(against, points)
    for point in points:
        assert svg.count(f'aria-label="{point["title"]}"') == (point in placed)
    assert len(placed) == (7 if against.name == "speed" else len(points))


def test_a_chart_without_points_is_empty() -> None:
    for against in chart.AXES:
        svg = drawing(against, [])
        assert svg.startswith("<svg")
        assert "<path aria-label" not in svg


def frontier(
    against: chart.Axis, *places: tuple[float, float], families: tuple[str, ...] = ()
) -> int:
    """Return the number of points on the dotted line."""
    points = [
        {
            "id": str(i),
            **dict.fromkeys(("size", "speed", "time"), across),
            "ratio": ratio,
            "family": families[i] if families else FAMILIES[1],
            "series": str(i),
            "state": "kept",
            "title": "",
            "href": "",
            "label": "",
        }
        for i, (across, ratio) in enumerate(places)
    ]
    (path,) = re.findall(r'<path d="([^"]*)"[^>]*stroke-dasharray', drawing(against, points))
    return len(re.findall(r"[MLHV]", path))


def test_the_dotted_line_is_the_pareto_frontier() -> None:
    size, _, time = chart.AXES
    # The line is a step function with one corner between two points.
    assert frontier(size, (0.2, 1.5), (0.5, 3.0)) == 3
    assert frontier(size, (0.2, 4.0), (0.5, 3.0)) == 1  # the second is better both ways
    assert frontier(size, (0.5, 3.0), (0.50000003, 3.5)) == 1  # the same sparsity
    assert frontier(time, (10.0, 3.0), (90.0, 2.0)) == 3
    assert frontier(time, (10.0, 2.0), (90.0, 3.0)) == 1


def test_quantised_models_are_not_on_the_frontier() -> None:
    size, places = chart.AXES[0], ((0.2, 4.0), (0.5, 3.0))
    assert frontier(size, *places, families=(FAMILIES[1], FAMILIES[0])) == 1
    assert frontier(size, *places, (0.8, 2.0), families=(*FAMILIES[:2], QUANTISED)) == 1
    assert frontier(size, *places, families=(FAMILIES[1], QUANTISED)) == 1
    assert frontier(size, places[1], (0.8, 4.0), families=(QUANTISED, FAMILIES[1])) == 1


def test_long_names_are_shortened_in_charts(records: list[Record]) -> None:
    (board,) = boards(records)
    long = {record.method: "x" * 10_000 for record in records}
    for point in chart.points(board, long):
        assert max(len(point["name"]), len(point["label"])) <= 24


def test_a_crowded_chart_draws_the_rows_with_the_lowest_ratio(
    records: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    (board,) = boards(records)
    monkeypatch.setattr(chart, "MAX_POINTS", 3)
    shown = re.findall(r'aria-label="([^"]*)"', chart.draw(board, {}))
    least = sorted(chart.points(board, {}), key=lambda point: point["ratio"])[:3]
    assert sorted(shown) == sorted(point["title"] for point in least)


def test_the_vega_runtime_is_one_module_with_the_needed_parts() -> None:
    module = vega.runtime()
    assert vl_convert.get_vega_version() in vega.PARTS, "without its parts it is a third heavier"
    assert re.findall(r"export\{\S+? as (\w+)\}", module) == [
        "parse",
        "View",
        "expressionInterpreter",
    ]
    assert len(module.encode()) < 480_000
    assert "import " not in module[:200]
    assert "cdn." not in module


# Boards


def test_each_board_has_its_own_page(atlas: Atlas, records: list[Record]) -> None:
    first = records[0]
    gpu = first.hardware.model_copy(update={"accelerator": "a GPU"})
    there = changed(first, hardware=gpu)
    again = changed(first, protocol=first.protocol.model_copy(update={"dtype": "bfloat16"}))
    made = dict(leaderboard.pages(Atlas(atlas.papers, atlas.methods, (first, there, again))))
    others = ("smol-smollm2-135m-float32-cpu-2", "smol-smollm2-135m-float32-a-gpu")
    paths = ["leaderboard.html", *(f"leaderboard/{name}.html" for name in others)]
    assert [path for path in made if path.endswith(".md")] == [
        path.replace(".html", ".md") for path in paths
    ]
    for path, name, up in zip(
        paths, ("smol-smollm2-135m-float32-cpu", *others), ("", "../", "../"), strict=True
    ):
        page = made[path.replace(".html", ".md")]
        assert f'id="{name}" data-rows="{up}leaderboard/{name}.json"' in page
        assert f"leaderboard/{name}.json" in made
        links = re.findall(r'<li><a href="([^"]*)"( aria-current="page")?>', page)
        assert links == [(up + one, ' aria-current="page"' * (one == path)) for one in paths]
        (row,) = rows(page)
        (link,) = row["Records"].iter("a")
        assert link.attrib["href"].startswith(f"{up}papers/magnitude.html#smol-")


def test_the_page_has_the_first_rows_and_the_data_all_rows(
    atlas: Atlas, records: list[Record]
) -> None:
    crowd = [
        changed(records[i % len(records)], configuration={"sparsity": i / 1000}, asked=i / 1000)
        for i in range(800)
    ]
    made = dict(leaderboard.pages(Atlas(atlas.papers, atlas.methods, tuple(crowd))))
    page = made["leaderboard.md"]
    assert len(page.encode()) < 270_000  # the theme adds 25 kB
    assert len(list(rows(page))) == leaderboard.ROWS == 100
    assert '700 more rows are in <a href="leaderboard.csv">' in page
    (name,) = {path for path in made if path.startswith("leaderboard/smol") and "json" in path}
    assert len(json.loads(made[name])["rows"]) == 800


def test_only_the_first_boards_have_a_chart_drawn_at_build(
    atlas: Atlas, records: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leaderboard, "PICTURES", 1)
    gpu = records[0].hardware.model_copy(update={"accelerator": "a GPU"})
    two = (records[0], changed(records[0], hardware=gpu))
    made = dict(leaderboard.pages(Atlas(atlas.papers, atlas.methods, two)))
    pictured = {path: 'class="marks"' in page for path, page in made.items() if ".md" in path}
    assert list(pictured.values()) == [True, False]
    assert all('class="atlas-stage"' in made[path] for path in pictured)


def test_a_task_has_a_column_in_which_higher_is_better(atlas: Atlas, records: list[Record]) -> None:
    first = records[0]
    tasked = changed(first, tasks=("arc_easy",), values=first.values | {"acc/arc": 0.25})
    page = dict(leaderboard.pages(Atlas(atlas.papers, atlas.methods, (first, tasked))))
    found = heads(page["leaderboard.md"])
    assert found["Accuracy, Arc"] == {
        "scope": "col",
        "class": "number",
        "title": "acc/arc",
        "data-sort": "acc/arc",
        "data-down": "",
    }
    assert "data-down" not in found["Wikipedia"]
    cells = [row.get("Accuracy, Arc") for row in rows(page["leaderboard.md"])]
    assert [text(cell) for cell in cells if cell is not None] == ["0.25"]


def test_quantised_models_are_listed_apart_with_their_bits(
    atlas: Atlas, records: list[Record]
) -> None:
    first = next(record for record in records if record.pattern)
    weights = first.footprint.model_copy(update={"bits": 1.516})
    fewer = changed(first, seed=first.seed, method="sparsegpt", footprint=weights)
    made = Atlas(atlas.papers, atlas.methods, (first, fewer))
    page = dict(leaderboard.pages(made))["leaderboard.md"]
    (board,) = made.boards
    assert [family for family, _ in board.families] == [FAMILIES[1], QUANTISED]
    assert [text(row["removed"]) for row in rows(page)] == ["2:4", "2:4, 1.52 bits"]
    assert "quantised models are left out" in page
    assert (
        "bits"
        not in dict(leaderboard.pages(Atlas({}, {}, (first,))))["leaderboard.md"].split("<table")[1]
    )


def test_without_records_nothing_is_drawn(atlas: Atlas) -> None:
    made = dict(leaderboard.pages(Atlas(atlas.papers, atlas.methods)))
    assert list(made) == ["leaderboard.md"]
    assert "There are no records yet" in made["leaderboard.md"]


def test_hostile_text_of_a_record_is_escaped(atlas: Atlas, records: list[Record]) -> None:
    bad = '<script>alert(1)</script></section> {{ 7 * 7 }} "x" \u202e'
    record = records[0].model_copy(
        update={
            "sample": bad,
            "command": bad,
            "warnings": (bad,),
            "disjoint": bad,
            "date": records[0].date + timedelta(days=1),
        }
    )
    made = Atlas(atlas.papers, atlas.methods, (record,))
    for path, page in leaderboard.pages(made):
        if path.endswith(".md"):
            assert "<script>alert" not in page
            assert page.count("</section>") == page.count("<section")
            assert "\u202e" not in page.replace("\\u202e", "")
    assert re.fullmatch(r"[a-z0-9-]+", record_anchor(record.model_copy(update={"name": bad})))


def test_a_record_without_dense_values_has_dashes(atlas: Atlas, records: list[Record]) -> None:
    nothing = Footprint(parameters=0, nonzero=0, bytes=0, macs=0)
    dense = Dense(run=records[0].dense.run, values={METRIC: 0.0}, footprint=nothing)
    record = records[0].model_copy(update={"dense": dense, "footprint": nothing})
    made = Atlas(atlas.papers, atlas.methods, (record,))
    (row,) = rows(dict(leaderboard.pages(made))["leaderboard.md"])
    assert "× dense" not in row


def test_runs_with_recovery_have_a_board_of_their_own(records: list[Record]) -> None:
    (plain,) = [record for record in records if record.method == "flap" and record.asked == 0.2]
    both = (plain, recovered(plain))
    page = dict(leaderboard.pages(Atlas({}, {}, both)))["leaderboard.md"]
    labels = re.findall(r"<li><a [^>]*>([^<]+), float32([^<]*)</a>", page)
    assert [after for _, after in labels] == ["", ", after LoRA on 102,400 tokens"]
    assert Atlas({}, {}, both).boards[0].recovery is None


def test_control_characters_are_removed_from_drawings(records: list[Record]) -> None:
    """A control character crashes the SVG converter, and with it the whole process."""
    words = "a\x1b]0;b\x07\n\ufffec"
    odd = changed(
        records[0], configuration=records[0].configuration | {"odd": words}, changed=("odd",)
    )
    (board,) = boards([odd])
    (point,) = chart.points(board, {odd.method: words})
    assert all(text.isprintable() for text in point.values() if isinstance(text, str))
    assert point["name"].startswith("a]0;bc")
    assert "odd=a]0;bc" in chart.draw(board, {odd.method: words})


def test_invalid_perplexities_are_not_drawn(records: list[Record]) -> None:
    """A logarithmic axis has no position for zero or negative values."""
    for value in (0.0, -40.0):
        odd = records[0].model_copy(update={"values": {METRIC: value}})
        (board,) = boards([odd])
        assert chart.points(board, {}) == []
        assert chart.draw(board, {}) == ""


@pytest.mark.parametrize(
    ("written", "read_"),
    [
        (memory(1_964_670_976), "1.96 GB"),
        (memory(2_500_000), "2.5 MB"),
        (memory(999), "999 bytes"),
        (seconds(0.529), "0.5 s"),
        (seconds(194.7), "195 s"),
        (seconds(14_400), "4.0 h"),
        (seconds(1.7e308), "4.72e+304 h"),
        (number(1.7e308), "1.7e+308"),
        (number(-1.7e308), "-1.7e+308"),
        (number(float("inf")), "∞"),
        (number(999_999_999), "999,999,999"),
        (times(3, 2), "1.50"),
        (times(3, 0), "–"),
    ],
)
def test_sizes_and_times_are_formatted(written: str, read_: str) -> None:
    assert written == read_
