"""The leaderboard in Chromium: filters, order, charts, commands that reproduce a number."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from implementations.harness.results.boards import boards
from implementations.harness.results.metric import AGREEMENT, DIVERGENCE, beside
from implementations.harness.results.protocol import PROTOCOLS
from implementations.harness.results.record import NO_SPEED_UP, Record
from implementations.harness.results.store import load_records, save_record
from tests.keyed import changed, with_divergence
from tests.site.visiting import address, moved, ready, until
from tools.site.addresses import record_address
from tools.site.chart import points

pytestmark = pytest.mark.browser

PROGRAM = (sys.executable, "-c", "from implementations.harness.cli.__main__ import main; main()")
CPU, GPU = "smollm2-135m-float32-cpu", "smollm2-135m-float32-a-gpu"
MANY = 230
FILES = {"vega.js", "charts.json", f"smol-{CPU}.json"}
LOADED = """performance.getEntriesByType('resource').map(one => one.name)
  .filter(name => /vega|leaderboard.*json/.test(name)).map(name => name.split('/').at(-1))"""


def one_of_many(record: Record, i: int) -> Record:
    half = record.model.model_copy(update={"dtype": "bfloat16"})
    share = i / 1000
    configuration = {"sparsity": share}
    return changed(
        record, name=f"many-{i}", configuration=configuration, requested=share, model=half
    )


@pytest.fixture(scope="module")
def more(records: list[Record]) -> list[Record]:
    """Records for four boards: the samples, a GPU, another protocol, and one with many rows."""
    gpu = records[0].hardware.model_copy(update={"accelerator": "a GPU"})
    quick = PROTOCOLS["quick"]
    measured = dict.fromkeys(quick.metrics, 40.0)
    dense = records[0].dense.model_copy(update={"values": dict.fromkeys(quick.metrics, 20.0)})
    return [
        *records,
        with_divergence(changed(records[0], method="magnitude", hardware=gpu), 0.5, 0.712),
        changed(records[0], method="wanda", hardware=gpu),
        changed(records[0], protocol=quick, values=measured, dense=dense),
        *(one_of_many(records[0], i) for i in range(MANY)),
    ]


@pytest.fixture(scope="module")
def home(
    more: list[Record],
    bare_checkout: Path,
    build: Callable[..., Path],
    served: Callable[[Path], Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    runs = tmp_path_factory.mktemp("more")
    for record in more:
        save_record(record, runs)
    with served(build(bare_checkout, ATLAS_RUNS=str(runs))) as address:
        yield address


def live(page: Any) -> Any:
    """Switch to the live chart and return it once it is drawn."""
    ready(page)
    page.locator(".atlas-stage").focus()
    chart = page.locator(".atlas-live svg")
    expect(chart).to_be_visible()
    ready(page)
    page.locator(".atlas-stage").blur()
    return chart


def marks(page: Any) -> list[str]:
    """Return the description of each mark of the live chart."""
    return [
        mark.get_attribute("aria-label")
        for mark in live(page).locator(".mark-symbol.role-mark path").all()
    ]


def methods(page: Any) -> list[str]:
    ready(page)
    rows: list[str] = page.locator("tr[data-family]:visible").evaluate_all(
        "rows => rows.map(row => `${row.cells[1].innerText} ${row.cells[2].innerText}`)"
    )
    return rows


def column(page: Any, label: str) -> list[str]:
    """Return the first word of each cell of a column, from top to bottom."""
    ready(page)
    place = page.locator("thead th button").all_inner_texts().index(label)
    found: list[str] = page.locator("tr[data-family]:visible").evaluate_all(
        "(rows, place) => rows.map(row => row.cells[place].innerText.replace('collapsed', '')"
        ".trim().split(/\\s/)[0].replaceAll(',', ''))",
        place,
    )
    return found


def numbers(texts: list[str]) -> list[float]:
    return [float(text) for text in texts if text.replace(".", "").isdigit()]


def choose(page: Any, share: str) -> None:
    page.locator(".atlas-chips label", has=page.get_by_text(share, exact=True)).click()
    ready(page)


# Boards


def test_each_board_has_a_page_that_keeps_the_filters(visit: Callable[..., Any], home: str) -> None:
    visitor = visit(home=home)
    page = visitor.open("leaderboard.html?share=50&chart=time")
    head = page.locator("h2").first
    expect(head).to_have_text("smol: smollm2-135m on CPU")
    page.locator(".atlas-boards summary").click()
    page.get_by_role("link", name="smollm2-135m on a GPU, float32").click()
    page.wait_for_url(f"**/leaderboard/smol-{GPU}.html?share=50&chart=time")
    expect(head).to_have_text("smol: smollm2-135m on a GPU")
    assert methods(page) == ["Magnitude 50 %", "Wanda 50 %"]
    assert page.get_by_role("button", name="Pruning time", pressed=True).is_visible()
    assert visitor.complaints == []
    page.go_back()
    expect(head).to_have_text("smol: smollm2-135m on CPU")
    assert page.get_by_role("radio", name="50 %").is_checked()


@pytest.mark.parametrize("width", [1440, 390])
def test_numbers_in_the_menu_of_boards_are_on_one_line(
    visit: Callable[..., Any], home: str, width: int
) -> None:
    page = visit(width, home=home).open("leaderboard.html")
    # The longest name that a published board has.
    page.locator(".atlas-boards a").evaluate_all(
        "all => all.forEach(one => one.append(', after full training on 102,400 tokens'))"
    )
    page.locator(".atlas-boards summary").click()
    lines = page.locator(".atlas-boards .atlas-count").evaluate_all(
        "all => all.map(one => one.getClientRects().length)"
    )
    assert len(lines) == 4
    assert set(lines) == {1}


def test_the_first_row_is_one_tab_stop_away_and_headers_sort_by_keyboard(
    visit: Callable[..., Any],
) -> None:
    page = visit().open("leaderboard.html")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the table")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("tr[data-family]:visible th a").first).to_be_focused()
    head = page.locator('thead [data-sort="method"]')
    head.get_by_role("button").press("Enter")
    expect(head).to_have_attribute("aria-sort", "ascending")
    names = [row.rsplit(" ", 2)[0] for row in methods(page)]
    assert names == sorted(names)
    expect(head.get_by_role("button")).to_be_focused()
    page.keyboard.press("Space")
    expect(head).to_have_attribute("aria-sort", "descending")


def test_a_shared_address_restores_the_same_view(visit: Callable[..., Any], home: str) -> None:
    page = visit(home=home).open("leaderboard.html?share=all&chart=speed&sort=speed&hide=3")
    assert page.get_by_role("button", name="Speed", pressed=True).is_visible()
    assert not page.get_by_label("Whole blocks").first.is_checked()
    assert {name.split()[0] for name in methods(page)} == {
        "Magnitude",
        "Wanda",
        "SparseGPT",
        "FLAP",
    }
    assert methods(page)[0].startswith("FLAP")
    assert all(mark.startswith("FLAP") for mark in marks(page))


def test_an_invalid_address_shows_the_overview(visit: Callable[..., Any]) -> None:
    visitor = visit()
    for query in ("share=77&chart=z", "m=%3Cscript%3E&needs=x", "sort=x&order=y&hide=z"):
        page = visitor.open(f"leaderboard.html?{query}")
        assert len(methods(page)) == 5
        assert page.locator("output").inner_text() == "5 of 19 rows"
    assert visitor.complaints == []


def test_a_board_is_readable_without_javascript(visit: Callable[..., Any], home: str) -> None:
    page = visit(home=home, java_script_enabled=False).open("leaderboard.html")
    assert page.locator("table.atlas-board:visible").count() == 1
    assert page.locator("table.atlas-board thead th:visible").count() == 15
    assert page.locator(".atlas-chart--wide svg:visible").count() == 1
    assert page.locator(".atlas-controls:visible, .atlas-copy:visible").count() == 0
    assert page.locator(".atlas-key input").count() == 0
    page.locator(".atlas-boards summary").click()
    page.get_by_role("link", name="smollm2-135m on CPU, bfloat16").click()
    expect(page.locator("tr[data-family]")).to_have_count(100)  # waits for the page
    assert page.get_by_text(f"{MANY - 100} more rows").is_visible()


def test_no_data_is_loaded_before_a_control_is_used(visit: Callable[..., Any], home: str) -> None:
    visitor = visit(home=home)
    page = visitor.open("leaderboard.html")
    assert visitor.weight < 300_000
    assert page.evaluate(LOADED) == []
    before = page.locator("table.atlas-board").inner_text()
    live(page)
    assert set(page.evaluate(LOADED)) == FILES
    # The loaded rows equal those of the page.
    assert page.locator("table.atlas-board").inner_text() == before
    assert visitor.complaints == []


def test_data_is_loaded_when_a_control_gets_focus(visit: Callable[..., Any]) -> None:
    visitor = visit()
    page = visitor.open("leaderboard.html")
    page.get_by_label("Sort the table by").focus()
    until(page, f"{LOADED}.length === {len(FILES)}")
    assert set(page.evaluate(LOADED)) == FILES
    assert page.locator(".atlas-live").count() == 0, "nothing is drawn before it is asked for"
    assert visitor.complaints == []


def test_the_table_answers_before_the_chart_is_drawn(visit: Callable[..., Any]) -> None:
    page = visit().open("leaderboard.html")
    page.get_by_label("Sort the table by").focus()
    until(page, f"{LOADED}.length === {len(FILES)}")
    page.evaluate(
        """() => {
          const saw = window.saw = [];
          new MutationObserver(() => {
            saw.push("table");
            requestAnimationFrame(() => saw.push("frame"));
          }).observe(document.querySelector(".atlas-board"), {childList: true});
          new MutationObserver(() => saw.push("chart"))
            .observe(document.querySelector(".atlas-stage"), {childList: true});
        }"""
    )
    page.get_by_role("button", name="Pruning time").click()
    ready(page)
    assert page.evaluate("saw") == ["table", "frame", "chart"]


# Choices


def test_rows_of_one_sparsity_are_ranked(visit: Callable[..., Any]) -> None:
    visitor = visit()
    page = visitor.open("leaderboard.html")
    choose(page, "50 %")
    assert address(page).endswith("?share=50")
    assert methods(page) == ["SparseGPT 50 %", "Wanda 50 %", "Magnitude 50 %", "FLAP 50 %"]
    assert column(page, "#") == ["1", "2", "3", "1"]  # structured methods are ranked apart
    assert page.locator("output").inner_text() == "4 of 19 rows"
    assert page.get_by_label("Sort the table by").input_value() == "kind"
    # The chart over sparsity shows the methods of the table at all sparsities.
    assert len(marks(page)) == 16
    page.get_by_role("button", name="Pruning time").click()
    assert len(marks(page)) == 4
    page.get_by_label("Single weights").uncheck()
    assert (methods(page), column(page, "#")) == (["FLAP 50 %"], ["1"])
    choose(page, "2:4")
    assert methods(page) == ["SparseGPT 2:4", "Wanda 2:4", "Magnitude 2:4"]
    assert column(page, "#") == ["1", "2", ""]  # collapsed
    page.get_by_role("button", name="Reset").click()
    assert len(methods(page)) == 5
    assert address(page).endswith("leaderboard.html")
    assert visitor.complaints == []


def test_rows_can_be_filtered_by_method_and_calibration(visit: Callable[..., Any]) -> None:
    page = visit().open("leaderboard.html")
    needs, method = (
        page.locator(".atlas-choice summary", has_text=word) for word in ("Data needed", "Method")
    )
    needs.click()
    page.get_by_role("checkbox", name="none").check()
    assert {name.split()[0] for name in methods(page)} == {"Magnitude"}
    expect(needs).to_have_text("Data needed1")
    page.get_by_role("checkbox", name="none").uncheck()
    method.click()
    expect(page.locator("[name=needs]").first).to_be_hidden()  # one menu at a time
    page.get_by_role("checkbox", name=re.compile("^FLAP")).check()
    page.get_by_role("checkbox", name=re.compile("^Wanda")).check()
    page.keyboard.press("Escape")
    expect(method).to_be_focused()
    assert address(page).endswith("?m=flap,wanda")
    assert {name.split()[0] for name in methods(page)} == {"FLAP", "Wanda"}
    assert {mark.split(",")[0] for mark in marks(page)} == {"FLAP", "Wanda"}


def test_columns_can_be_chosen_and_visible_ones_are_saved(visit: Callable[..., Any]) -> None:
    page = visit().open("leaderboard.html")
    heads = page.locator("thead th:visible")
    assert "MACs" not in heads.all_inner_texts()
    page.locator(".atlas-columns summary").click()
    page.get_by_label("MACs").check()
    for label in ("Wikipedia", "C4", "Speed", "Pruning"):
        page.get_by_label(label, exact=True).uncheck()
    ready(page)
    shown = ["#", "Method", "Removed", "× dense", "MACs", "Fidelity", "Records"]
    assert heads.all_inner_texts() == shown
    assert page.locator("tr[data-family]").first.locator(":is(th, td):visible").count() == 7
    choose(page, "50 %")
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as CSV").click()
    with Path(download.value.path()).open(encoding="utf-8-sig", newline="") as file:
        lines = list(csv.DictReader(file))
    assert download.value.suggested_filename == f"smol-{CPU}-50.csv"
    assert [line["method"] for line in lines] == ["sparsegpt", "wanda", "magnitude", "flap"]
    assert {"ratio", "ratio deviation", "fidelity", "macs"} <= lines[0].keys()
    assert not {"speed", "time", "ppl/c4/1024"} & lines[0].keys()
    assert float(lines[1]["ratio"]) == pytest.approx(1.97)
    assert float(lines[1]["ratio deviation"]) == pytest.approx(0.02)
    assert lines[1]["seeds"] == "0 1 2"
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as JSON").click()
    saved = json.loads(Path(download.value.path()).read_text(encoding="utf-8"))
    assert saved["address"].endswith("&share=50")
    assert [row["rank"] for row in saved["rows"]] == ["1", "2", "3", "1"]
    assert (
        saved["rows"][1]["command"]
        == lines[1]["command"]
        == "atlas run wanda --sparsity 0.5 --seed 0"
    )


@pytest.mark.parametrize("key", ["kl", "agreement"])
@pytest.mark.parametrize("order", ["ascending", "descending"])
def test_rows_without_divergence_come_last_and_are_empty(
    visit: Callable[..., Any], home: str, key: str, order: str
) -> None:
    visitor = visit(home=home)
    page = visitor.open(f"leaderboard/smol-{GPU}.html?sort={key}&order={order}")
    assert methods(page) == ["Magnitude 50 %", "Wanda 50 %"]
    assert column(page, "KL") == ["0.500", ""]
    assert column(page, "Agreement") == ["71.2", ""]
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as JSON").click()
    saved = json.loads(Path(download.value.path()).read_text(encoding="utf-8"))
    assert [(row["kl"], row["agreement"]) for row in saved["rows"]] == [(0.5, 0.712), (None, None)]
    assert visitor.complaints == []


def test_a_phone_shows_the_agreement_on_the_second_line(
    visit: Callable[..., Any], home: str
) -> None:
    page = visit(390, home=home).open(f"leaderboard/smol-{GPU}.html")
    row, older = page.locator("tr[data-family]").all()
    for label, visible in (("Agreement", True), ("KL", False)):
        assert row.locator(f"td[data-label='{label}']").is_visible() == visible
        assert older.locator(f"td[data-label='{label}']").count() == 0
    removed, agrees = (
        row.locator(cell).bounding_box() for cell in (".removed", "[data-label=Agreement]")
    )
    assert abs(removed["y"] - agrees["y"]) < 4
    assert agrees["x"] > removed["x"] + removed["width"] - 1


def test_the_table_header_stays_visible(visit: Callable[..., Any]) -> None:
    page = visit().open("leaderboard.html?share=all")
    page.locator("tr[data-family]").last.scroll_into_view_if_needed()
    page.mouse.wheel(0, 300)
    until(page, "document.querySelector('thead th').getBoundingClientRect().top < 120")
    bar, head = (
        page.locator(".md-header").bounding_box(),
        page.locator("thead th").first.bounding_box(),
    )
    assert abs(bar["y"] + bar["height"] - head["y"]) < 8


def test_print_has_the_whole_table(visit: Callable[..., Any]) -> None:
    page = visit(width=900).open("leaderboard.html")
    live(page)
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 1030, "height": 720})  # A4 landscape within its margins
    head = page.locator("table.atlas-board thead")
    assert head.evaluate("head => getComputedStyle(head).display") == "table-header-group"
    assert page.locator(".atlas-controls:visible, .atlas-menu:visible").count() == 0
    for one in page.locator("table.atlas-board, .atlas-live svg").all():
        box = one.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 1030


# Order


def test_columns_sort_smallest_first(visit: Callable[..., Any]) -> None:
    page = visit().open("leaderboard.html?share=all&columns=ratio,ppl/c4/1024,parameters,macs,time")
    for label in ("C4", "× dense", "Pruning"):
        head = page.get_by_role("button", name=label, exact=True)
        head.click()
        values = numbers(column(page, label))
        assert len(values) > 10
        assert values == sorted(values)
        expect(page.locator("th[aria-sort]")).to_have_attribute("aria-sort", "ascending")
        head.click()
        assert numbers(column(page, label)) == sorted(values, reverse=True)
        expect(page.locator("th[aria-sort]")).to_have_attribute("aria-sort", "descending")


def test_missing_values_are_sorted_last(visit: Callable[..., Any]) -> None:
    page = visit().open("leaderboard.html?share=all")
    head = page.locator("thead").get_by_role("button", name="Speed", exact=True)
    for _ in range(2):
        head.click()
        assert column(page, "Speed") == ["1.25"] * 7 + ["no"] * 12


def test_the_order_by_kind_can_be_restored(visit: Callable[..., Any]) -> None:
    page = visit().open("leaderboard.html?share=all")
    before = methods(page)
    page.get_by_label("Sort the table by").select_option("Method")
    assert methods(page) == sorted(before, key=lambda name: name.split()[0].lower())
    assert page.locator("tr.family:visible").count() == 0
    assert page.locator("tr.dense:visible").count() == 1
    page.get_by_role("button", name="smallest first").click()
    assert methods(page)[0].startswith("Wanda")
    page.go_back()
    page.go_back()
    assert methods(page) == before
    assert page.locator("tr.family:visible").count() == 8


def test_a_family_can_be_hidden(visit: Callable[..., Any]) -> None:
    page = visit().open("leaderboard.html?share=all")
    page.get_by_label("Single weights").uncheck()
    ready(page)
    expect(page.locator("tr.family:visible")).to_have_count(6)
    assert all(":" in name or name.startswith(("FLAP", "ShortGPT")) for name in methods(page))
    assert len(methods(page)) == len(marks(page)) == 13
    assert address(page).endswith("?share=all&hide=0")


def test_only_the_first_of_many_rows_are_shown(visit: Callable[..., Any], home: str) -> None:
    page = visit(home=home).open(
        "leaderboard/smol-smollm2-135m-bfloat16-cpu.html?share=all&sort=removed"
    )
    rows = page.locator("tr[data-family]:visible")
    expect(rows).to_have_count(100)
    assert rows.first.locator("td.removed").inner_text().startswith("0 %")
    page.get_by_role("button", name=f"Show all {MANY} rows").click()
    expect(rows).to_have_count(MANY)
    expect(page.get_by_role("button", name="Show all")).to_have_count(0)


# Charts


@pytest.mark.parametrize(("name", "missing"), [("Size", 0), ("Speed", 12), ("Pruning time", 0)])
def test_charts_show_the_measured_values(
    visit: Callable[..., Any], records: list[Record], name: str, missing: int
) -> None:
    visitor = visit()
    page = visitor.open("leaderboard.html?share=all")
    if name != "Size":
        page.locator(".atlas-against").get_by_role("button", name=name, exact=True).click()
    (board,) = boards(records)
    kind = {"Size": "size", "Speed": "speed", "Pruning time": "time"}[name]
    wanted = [
        point["title"].partition(", ")[2] for point in points(board, {}) if point[kind] is not None
    ]
    assert sorted(mark.partition(", ")[2] for mark in marks(page)) == sorted(wanted)
    left_out = page.locator(".atlas-left-out").inner_text()
    assert left_out.startswith(str(missing)) if missing else left_out == ""
    assert (NO_SPEED_UP in left_out) == (name == "Speed")
    assert visitor.complaints == []


def test_the_page_marks_when_its_state_is_shown(visit: Callable[..., Any]) -> None:
    page = visit().open("leaderboard.html")
    shows = "document.documentElement.dataset.shows ?? null"
    assert page.evaluate(shows) == ""
    press = "document.querySelector('.atlas-against [value=speed]').click()"
    assert page.evaluate(f"{press}; {shows}") is None  # the chart takes a while
    assert all(mark.startswith(("FLAP", "ShortGPT")) for mark in marks(page))
    assert page.evaluate(shows) == "?chart=speed"


def test_families_differ_by_shape_and_colour(visit: Callable[..., Any]) -> None:
    page = visit().open("leaderboard.html?share=all")
    shapes: dict[str, set[str]] = {}
    for mark in live(page).locator(".mark-symbol.role-mark path").all():
        colour = mark.evaluate("mark => getComputedStyle(mark).stroke")
        shapes.setdefault(colour, set()).add(mark.get_attribute("d") or "")
    assert len(shapes) == 4
    assert all(len(paths) == 1 for paths in shapes.values())
    assert len(set.union(*shapes.values())) == 4


def test_collapsed_runs_are_hollow(visit: Callable[..., Any]) -> None:
    page = visit().open("leaderboard.html")
    paper, kinds = page.evaluate("getComputedStyle(document.body).backgroundColor"), set()
    marks = live(page).locator(".mark-symbol.role-mark path")
    expect(marks).not_to_have_count(0)
    for mark in marks.all():
        fill = mark.evaluate("mark => getComputedStyle(mark).fill")
        collapsed = "collapsed" in (mark.get_attribute("aria-label") or "")
        assert collapsed == (fill == paper)
        kinds.add(collapsed)
    assert kinds == {True, False}


def test_the_chart_uses_the_colours_of_the_scheme(visit: Callable[..., Any]) -> None:
    page = visit(scheme="dark").open("leaderboard.html")
    mark = live(page).locator(".mark-symbol.role-mark path").first
    stroke = "mark => getComputedStyle(mark).stroke"
    dark = mark.evaluate(stroke)
    page.get_by_title("Switch to light colours").click()
    expect(mark).not_to_have_css("stroke", dark)


def test_a_point_shows_details_and_links_to_its_record(
    visit: Callable[..., Any], records: list[Record]
) -> None:
    visitor = visit()
    page = visitor.open("leaderboard.html")
    mark = live(page).locator("path[aria-label^='ShortGPT, 20 %']")
    mark.hover()
    readout = page.locator(".atlas-readout")
    expect(readout).to_contain_text("ShortGPT, 20 %: 4.90 times the dense perplexity")
    expect(readout).to_contain_text("generates 1.25 times as fast")
    at, box = mark.bounding_box(), readout.bounding_box()
    assert 0 < box["x"] - (at["x"] + at["width"]) < 20
    assert box["y"] < at["y"] < box["y"] + box["height"]
    readout.locator("strong").hover()
    expect(readout).to_be_visible()  # the pointer can move into it
    mark.click()
    (record,) = [r for r in records if r.method == "shortgpt" and r.requested == 0.2]
    page.wait_for_url(f"**/{record_address(record)}")
    assert record.command in page.locator("tr:target").inner_text()
    assert visitor.complaints == []


def test_a_tap_selects_a_point_and_a_second_tap_opens_it(visit: Callable[..., Any]) -> None:
    visitor = visit(390, has_touch=True, is_mobile=True)
    page = visitor.open("leaderboard.html")
    picture = page.locator(".atlas-chart--narrow a[href*='flap.html#'] path").first
    picture.scroll_into_view_if_needed()
    picture.tap()  # the static picture, whose marks are links
    readout = page.locator(".atlas-readout")
    expect(readout).to_contain_text("FLAP")
    assert page.url.endswith("leaderboard.html")
    ready(page)
    chart = page.locator(".atlas-live svg")
    for name in ("ShortGPT, 10 %", "ShortGPT, 20 %"):
        readout.locator("strong").first.tap()  # closes it
        expect(readout).to_be_hidden()
        mark = chart.locator(f"path[aria-label^='{name}']")
        mark.tap(force=True)
        expect(readout.locator("strong").first).to_contain_text(name)
        box = readout.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
    assert page.url.endswith("leaderboard.html")
    mark.tap(force=True)
    page.wait_for_url("**/papers/shortgpt.html#smol-*")
    assert visitor.complaints == []


def test_points_at_the_same_position_are_all_labelled(visit: Callable[..., Any], home: str) -> None:
    page = visit(home=home).open(f"leaderboard/smol-{GPU}.html")
    mark = live(page).locator(".mark-symbol.role-mark path").first
    mark.hover(force=True)  # another mark covers it
    expect(page.locator(".atlas-readout strong")).to_have_count(2)
    label = page.locator(".atlas-live .mark-text.role-mark text").all_text_contents()
    assert "Magnitude, Wanda" in label


def test_the_chart_can_be_read_by_keyboard(visit: Callable[..., Any]) -> None:
    visitor = visit()
    page = visitor.open("leaderboard.html")
    wanted = set(marks(page))
    page.locator(".atlas-stage").focus()
    readout = page.locator(".atlas-readout strong:first-child")
    said = page.locator(".atlas-chart [aria-live]")
    order = []
    page.keyboard.press("Home")
    for _ in range(30):
        order.append(readout.first.inner_text())
        assert order[-1] in said.inner_text()
        page.keyboard.press("ArrowRight")
    assert set(order) == wanted
    assert order[-1] == order[-2]  # the arrow key stops at the last one
    page.keyboard.press("ArrowLeft")
    expect(readout.first).not_to_have_text(order[-1])
    page.keyboard.press("Escape")
    expect(page.locator(".atlas-readout")).to_be_hidden()
    page.keyboard.press("ArrowRight")
    title = readout.first.inner_text()
    page.keyboard.press("Enter")
    page.wait_for_url("**/papers/*.html#smol-*")
    assert title.split(",")[0] in page.locator("h1").inner_text()
    assert visitor.complaints == []


def test_the_page_does_not_move_while_the_chart_loads(visit: Callable[..., Any]) -> None:
    for width in (390, 1280):
        page = visit(width).open("leaderboard.html")
        live(page)
        assert moved(page) < 0.02, f"{width} pixels"


def test_the_chart_grows_with_the_page(visit: Callable[..., Any]) -> None:
    page = visit(1280).open("leaderboard.html")
    chart = live(page)
    page.set_viewport_size({"width": 500, "height": 800})
    until(page, "document.querySelector('.atlas-live svg').clientWidth < 500")
    page.set_viewport_size({"width": 1280, "height": 800})
    until(page, "document.querySelector('.atlas-live svg').clientWidth > 1000")
    assert chart.count() == 1


def test_only_the_leaderboard_loads_vega(visit: Callable[..., Any]) -> None:
    for path in ("index.html", "catalog.html", "papers/flap.html"):
        visitor = visit()
        page = visitor.open(path)
        assert visitor.complaints == []
        loaded = page.evaluate("performance.getEntriesByType('resource').map(one => one.name)")
        assert not [name for name in loaded if "vega" in name]


@pytest.mark.parametrize("width", [360, 768, 1440])
def test_the_list_of_records_fits_every_width(visit: Callable[..., Any], width: int) -> None:
    page = visit(width).open("papers/flap.html")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    for cell in page.locator(".atlas-records :is(th, td)").all():
        box = cell.bounding_box()
        assert box is None or box["x"] + box["width"] <= width


# Repeat a number


def command_shown(visit: Callable[..., Any], name: str, setting: str) -> tuple[Any, list[str]]:
    """Copy the command of a row and that of its record."""
    visitor = visit(permissions=["clipboard-read", "clipboard-write"])
    page = visitor.open("index.html")
    page.get_by_role("link", name="Leaderboard", exact=True).first.click()
    page.wait_for_url("**/leaderboard.html")
    choose(page, setting)
    row = page.locator("tr[data-family]").filter(has=page.get_by_role("link", name=name))
    row = row.filter(has=page.locator("td.removed", has_text=setting))
    row.get_by_role("button", name="copy command").click()
    texts = [str(until(page, "navigator.clipboard.readText()"))]
    row.get_by_role("link", name="seed 0").click()
    page.wait_for_url("**/papers/*.html#smol-*")
    page.evaluate("navigator.clipboard.writeText('')")
    page.locator("tr:target").get_by_role("button", name="Copy command").click()
    texts.append(str(until(page, "navigator.clipboard.readText()")))
    assert visitor.complaints == []
    return page, texts


def test_the_command_of_a_number_can_be_copied(
    visit: Callable[..., Any], records: list[Record]
) -> None:
    (record,) = [r for r in records if r.method == "sparsegpt" and r.pattern == "2:4"]
    page, texts = command_shown(visit, "SparseGPT", "2:4")
    assert texts == [record.command, record.command]
    assert record.command in page.locator("tr:target code").inner_text()


@pytest.mark.model
def test_the_command_of_the_published_number_works(
    visit: Callable[..., Any],
    repository: Path,
    published: Path,
    served: Callable[[Path], Any],
    cut: Path,
    tmp_path: Path,
) -> None:
    with served(published) as address:
        page, texts = command_shown(lambda **more: visit(home=address, **more), "SparseGPT", "2:4")
        shown = page.locator("tr:target").inner_text()
    whole = texts[0]
    protocol = PROTOCOLS["quick"].model_dump(mode="json") | {"name": "short"}
    protocol["calibration"] |= {"samples": 2, "length": 128}
    protocol["evaluations"][0] |= {"windows": 2}
    (tmp_path / "short.yaml").write_text(json.dumps(protocol))
    short = whole.replace("--protocol smol", "--protocol short.yaml")
    assert shlex.split(whole)[:5] == ["atlas", "run", "sparsegpt", "--pattern", "2:4"]
    (theirs,) = [
        record
        for record in load_records([repository / "implementations" / "sparsegpt" / "records"])
        if record.command == whole
    ]
    assert f"{theirs.values[theirs.protocol.metrics[0]]:.2f}" in shown
    subprocess.run(
        [*PROGRAM, *shlex.split(short)[1:], "--model", str(cut), "--runs", str(tmp_path / "runs")],
        check=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(repository)},
        timeout=300,
    )
    (mine,) = [r for r in load_records([tmp_path / "runs"]) if r.method == "sparsegpt"]
    assert mine.configuration == theirs.configuration
    assert mine.seed == theirs.seed
    assert mine.achieved == pytest.approx(theirs.achieved, abs=1e-6)
    metrics = PROTOCOLS["quick"].metrics
    assert mine.dense.values.keys() == set(metrics)
    assert mine.values.keys() == {
        *metrics,
        *(beside(name, kind) for name in metrics for kind in (DIVERGENCE, AGREEMENT)),
    }
