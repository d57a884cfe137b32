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
from implementations.harness.results.metric import PERPLEXITY, TIE
from implementations.harness.results.protocol import PROTOCOLS
from implementations.harness.results.ranking import SEEDS
from implementations.harness.results.record import NO_SPEED_UP, Dense, Footprint, Record
from tests.keyed import changed, with_divergence
from tests.site.conftest import recovered
from tools.site import board_columns, chart, vega
from tools.site.addresses import record_address, record_anchor
from tools.site.answers import Ranking, share
from tools.site.atlas import Atlas
from tools.site.formatting import memory, number, seconds
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


def row_data(data: Any, record: Record) -> Any:
    """Return the script's data of the row with a record."""
    address = record_address(record)
    (row,) = [row for row in data["rows"] if address in dict(map(reversed, row["records"]))]
    return row


def cells(data: Any, page: str, record: Record) -> dict[str, list[Any]]:
    """Return the script's cells of a record's row by heading: value, text, note, deviation."""
    row = row_data(data, record)
    labels = list(heads(page))[3:-1]
    return {
        label: [*cell, *[""] * (5 - len(cell))]
        for label, cell in [("removed", row["removed"]), *zip(labels, row["cells"], strict=True)]
    }


def test_every_column_matches_the_records(page: str, data: Any, records: list[Record]) -> None:
    assert len(data["rows"]) == len(settings(records))
    for group in settings(records):
        first = group[0]
        found, footprint, speed = cells(data, page, first), first.footprint, first.speed
        for label, metric in zip(("Wikipedia", "C4"), first.protocol.metrics, strict=True):
            mean = statistics.fmean(record.values[metric] for record in group)
            assert found[label][:2] == [pytest.approx(mean, rel=1e-12), number(mean)]
        ranking = first.protocol.metrics[0]
        ratios = [r.values[ranking] / r.dense.values[ranking] for r in group]
        ratio = statistics.fmean(ratios)
        assert found["× dense"][:2] == [pytest.approx(ratio, rel=1e-12), number(ratio)]
        spread = f"± {number(statistics.stdev(ratios))}" if len(group) > 1 else ""
        assert found["× dense"][2] == spread
        assert row_data(data, first)["collapsed"] == (ratio > PERPLEXITY.collapse)
        assert found["Parameters"][0] == footprint.parameters
        assert found["MACs"][0] == footprint.macs
        assert found["Memory"][0] == max(record.peak.bytes for record in group)
        prune = statistics.fmean(record.seconds["prune"] for record in group)
        assert found["Pruning"][0] == pytest.approx(prune)
        achieved = statistics.fmean(record.achieved for record in group)
        assert found["removed"][0] == pytest.approx(achieved)
        for label, rate in (("Prefill", speed.prefill), ("Speed", speed.decode)):
            if rate is None:
                assert found[label][1:3] == ["", "no gain"]
                assert found[label][4] == NO_SPEED_UP
            else:
                note = f"({number(rate.low)}–{number(rate.high)})"
                assert found[label][:3] == [rate.ratio, number(rate.ratio), note]


def test_divergence_and_agreement_have_columns_if_a_record_has_them(
    real: Atlas, records: list[Record]
) -> None:
    measured = [with_divergence(r, 0.5, 0.712) if r.method == "flap" else r for r in records]
    made = dict(leaderboard.pages(Atlas(real.papers, real.methods, tuple(measured))))
    page, data = made["leaderboard.md"], json.loads(next(v for k, v in made.items() if "cpu" in k))
    assert list(heads(page))[3:8] == ["× dense", "Wikipedia", "C4", "KL", "Agreement"]
    assert heads(page)["C4"]["class"] == "number is-extra"
    assert "data-down" in heads(page)["Agreement"]
    assert "data-down" not in heads(page)["KL"]
    assert "learn/how-we-measure.html#divergence" in page
    shown = {text(row["name"]): row for row in rows(page)}
    assert (text(shown["FLAP"]["KL"]), text(shown["FLAP"]["Agreement"])) == ("0.500", "71.2 %")
    assert {"KL", "Agreement"}.isdisjoint(shown["ShortGPT"])
    for record in measured:
        found = cells(data, page, record)
        expected = [0.5, 0.712] if record.method == "flap" else ["", ""]
        assert [found["KL"][0], found["Agreement"][0]] == expected
    dense = page[page.index('<tr class="dense">') :].partition("</tr>")[0]
    assert 'data-label="KL">0<' in dense
    assert 'data-label="Agreement">100 %<' in dense


def test_divergence_after_fine_tuning_leaves_the_dense_row_empty(records: list[Record]) -> None:
    trained = with_divergence(recovered(records[0]), 0.5, 0.712)
    (board,) = boards([trained])
    divergence = next(c for c in board_columns.columns(board, Atlas({}, {})) if c.key == "kl")
    assert (divergence.cell(board.rows[0]).text, divergence.dense) == ("0.500", "")


def test_older_records_have_no_columns_for_divergence(page: str) -> None:
    assert {"KL", "Agreement"}.isdisjoint(heads(page))
    assert "#divergence" not in page


def test_rows_on_the_page_are_those_of_the_data(page: str, data: Any) -> None:
    by_name = {(row["name"], row["removed"][1]): row for row in data["rows"] if row["overview"]}
    shown = list(rows(page))
    assert len(shown) == len(by_name)
    labels = list(heads(page))[3:-1]
    for row in shown:
        known = by_name[text(row["name"]), text(row["removed"])]
        assert text(row["#"]) == known["rank"]
        for label, (_, *parts) in zip(labels, known["cells"], strict=True):
            written = " ".join(filter(None, parts[:2]))
            assert text(row[label]).removeprefix("collapsed ") == written if written else True


def test_one_row_represents_each_method_at_each_share(real: Atlas) -> None:
    found = leaderboard.packed(Ranking(real.boards[0], real))
    assert found["equal"] == {"tie": TIE, "seeds": SEEDS}
    every = {(row["method"], row["share"]) for row in found["rows"]}
    chosen = [(row["method"], row["share"]) for row in found["rows"] if row["represents"]]
    assert len(chosen) == len(every) < len(found["rows"])
    assert set(chosen) == every
    assert all(row["represents"] for row in found["rows"] if row["rank"])


def test_seconds_are_those_of_one_machine_and_thread_count(records: list[Record]) -> None:
    flap = [record for record in records if record.method == "flap"]
    (first, *others) = [one for one in records if one.method == "wanda" and one.requested == 0.5]
    threads = first.hardware.threads + 1
    other = flap[0].hardware.model_copy(update={"threads": threads})
    newer = flap[1].hardware.model_copy(update={"model": "GenuineIntel 6/143"})
    (board,) = boards(
        [
            changed(flap[0], hardware=other),
            changed(flap[1], hardware=newer),
            *flap[2:],
            changed(first, seconds={"prune": 10.0}),
            *(changed(one, seconds={"prune": 12.25}) for one in others),
        ]
    )
    cell = next(c for c in board_columns.columns(board, Atlas({}, {})) if c.key == "time").cell
    shown = {(row.method, row.settings): cell(row) for row in board.rows}
    assert board.timed_on == f"{first.hardware.cpu}, {first.hardware.threads} threads"
    assert shown["wanda", "50 %"].text == "10.0–12.2 s"
    assert shown["flap", "30 %"].text == "12.5 s"
    for settings, name in (("10 %", f"{threads} threads"), ("20 %", "GenuineIntel 6/143")):
        assert not shown["flap", settings].text
        assert shown["flap", settings].value is None  # and so it is never the best
        assert name in shown["flap", settings].title


def test_speeds_of_busy_machines_and_other_processors_are_not_shown(records: list[Record]) -> None:
    flap = [record for record in records if record.method == "flap"]
    busy = flap[0].speed.model_copy(
        update={"decode": flap[0].speed.decode.model_copy(update={"low": 0.9})}  # type: ignore[union-attr]
    )
    hardware = flap[1].hardware.model_copy(update={"cpu": "another"})
    (board,) = boards(
        [changed(flap[0], speed=busy), changed(flap[1], hardware=hardware), *flap[2:]]
    )
    speed = next(c for c in board_columns.columns(board, Atlas({}, {})) if c.key == "speed")
    notes = {row.settings: speed.cell(row).note for row in board.rows}
    assert notes["10 %"] == "too noisy"
    assert notes["20 %"] == "other CPU"
    assert notes["30 %"] == "(1.21–1.31)"


def test_rows_have_the_command_that_repeats_them(
    page: str, data: Any, records: list[Record]
) -> None:
    for record in records:
        if record.seed == 0:
            assert row_data(data, record)["command"] == record.command
    buttons = [button for row in rows(page) for button in row["Records"].iter("button")]
    assert {button.attrib["data-clipboard-text"] for button in buttons} <= {
        record.command for record in records
    }


def test_every_column_can_be_sorted(page: str) -> None:
    keys = [head["data-sort"] for head in heads(page).values()]
    assert len(set(keys)) == len(keys) == 15
    larger = [head["data-sort"] for head in heads(page).values() if "data-down" in head]
    assert larger == ["prefill", "speed", "seeds"]


def test_rows_show_their_family(data: Any, records: list[Record]) -> None:
    (board,) = boards(records)
    for shown in board.rows:
        assert FAMILIES[row_data(data, shown.first)["family"]] == shown.family


@pytest.mark.parametrize(
    ("requested", "pattern", "name"),
    [(0.5, None, "50"), (0.69999, None, "70"), (0.345, None, "34.5"), (0.5, "2:4", "2:4")],
)
def test_share_is_the_requested_sparsity(
    records: list[Record], requested: float, pattern: str | None, name: str
) -> None:
    configuration = {"sparsity": requested, "pattern": pattern}
    update = {"requested": requested, "achieved": requested - 1e-5}
    update |= {"configuration": configuration}
    record = records[0].model_copy(update=update)
    assert share(record) == name
    (board,) = boards([record])
    chosen = {value: count for value, _, count in board_columns.shares(board)}
    assert chosen[name if name in board_columns.CHIPS else "other"] == 1
    assert sum(chosen.values()) == 1


def test_the_filters_offer_what_the_board_has(page: str, atlas: Atlas) -> None:
    menus = {
        name: re.findall(rf'name="{name}" value="([^"]*)".*?atlas-count">(\d+)<', page)
        for name in ("m", "needs", "class", "fidelity")
    }
    found = Counter(row.method for row in atlas.boards[0].rows)
    assert dict(menus["m"]) == {slug: str(count) for slug, count in found.items()}
    assert dict(menus["needs"]) == {"none": "4", "forward": "15"}
    assert dict(menus["class"]) == {"one-shot": "19"}
    rated = Counter(atlas.papers[row.method].fidelity for row in atlas.boards[0].rows)
    assert dict(menus["fidelity"]) == {name: str(count) for name, count in rated.items() if name}
    assert re.findall(r'value="([^"]*)" disabled', page) == ["60"]  # no sample record has it


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
    points = {point["href"]: point for point in chart.points(board, atlas.names)}
    assert data["points"] == [
        points.pop(one["href"]) | {"id": place} for place, one in enumerate(data["points"])
    ]
    assert not points
    for row in data["rows"]:
        assert data["points"][row["point"]]["href"] == row["records"][0][1]


@pytest.mark.parametrize(("share", "end"), [(0.69999, 0.7), (0.50016, 0.5), (0.25, 0.3)])
def test_the_largest_sparsity_has_a_tick(share: float, end: float, records: list[Record]) -> None:
    update = {"requested": share, "achieved": share, "configuration": {"sparsity": share}}
    made = records[0].model_copy(update=update)
    svg = chart.draw(boards([made])[0], {})
    ticks = re.findall(r">(\d+) %</text>", svg)
    assert ticks[-1] == f"{100 * end:.0f}"


def test_points_at_the_same_position_share_a_label(records: list[Record]) -> None:
    one = next(r for r in records if r.method == "flap" and r.requested == 0.2)
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
        found = re.findall(
            r'text-anchor="(\w+)" transform="translate\(([\d.]+),[^>]*>([^<]*long[^<]*)<',
            chart.draw(board, long, size),
        )
        assert len(found) > 3
        for side, anchor, name in found:
            width = 0.55 * size.font * len(name)
            left = float(anchor) - (width if side == "end" else 0)
            assert left >= 0
            assert left + width < size.width


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
    shares = [0.201 + i / 4000 for i in range(800)]
    crowd = [
        changed(records[i % len(records)], configuration={"sparsity": one}, requested=one)
        for i, one in enumerate(shares)
    ]
    made = dict(leaderboard.pages(Atlas(atlas.papers, atlas.methods, tuple(crowd))))
    page = made["leaderboard.md"]
    assert len(page.encode()) < 270_000  # the theme adds 25 kB
    assert len(list(rows(page))) == leaderboard.ROWS == 100
    assert '<a href="leaderboard.csv">leaderboard.csv</a> has 700 more rows' in page
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
    first = next(record for record in records if record.requested == 0.5 and not record.pattern)
    other = "sparsegpt" if first.method == "wanda" else "wanda"
    values = first.values | {"acc/arc": 0.25}
    tasked = changed(first, method=other, tasks=("arc_easy",), values=values)
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
    (plain,) = [record for record in records if record.method == "flap" and record.requested == 0.2]
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
    ],
)
def test_sizes_and_times_are_formatted(written: str, read_: str) -> None:
    assert written == read_
