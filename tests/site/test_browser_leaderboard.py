"""The leaderboard in a real Chromium: switches, order, charts, the way to a command that works."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from implementations.harness.results.boards import boards
from implementations.harness.results.protocol import PROTOCOLS
from implementations.harness.results.record import NO_SPEED_UP, Record
from implementations.harness.results.store import load_records, save_record
from tests.keyed import changed
from tests.site.visiting import address, copied, moved, ready, until
from tools.site.chart import points
from tools.site.words import record_address

pytestmark = pytest.mark.browser

PROGRAM = (sys.executable, "-c", "from implementations.harness.cli.__main__ import main; main()")
CPU, GPU = "smollm2-135m-float32-cpu", "smollm2-135m-float32-a-gpu"
MANY = 230


def one_of_many(record: Record, i: int) -> Record:
    half = record.model.model_copy(update={"dtype": "bfloat16"})
    share = i / 1000
    configuration = {"sparsity": share}
    return changed(record, name=f"many-{i}", configuration=configuration, asked=share, model=half)


@pytest.fixture(scope="module")
def more(records: list[Record]) -> list[Record]:
    """Four boards: the samples, two of them on a GPU too, one under another protocol, a crowd."""
    gpu = records[0].hardware.model_copy(update={"accelerator": "a GPU"})
    quick = PROTOCOLS["quick"]
    measured = dict.fromkeys(quick.metrics, 40.0)
    dense = records[0].dense.model_copy(update={"values": dict.fromkeys(quick.metrics, 20.0)})
    return [
        *records,
        *(changed(record, name=f"gpu-{record.name}", hardware=gpu) for record in records[:2]),
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
    """The chart that is drawn in the page, once it is."""
    ready(page)
    chart = page.locator(".atlas-one:not([hidden]) .atlas-live svg")
    expect(chart).to_be_visible()
    return chart


def marks(page: Any) -> list[str]:
    """What each mark of the live chart says of itself."""
    return [
        mark.get_attribute("aria-label")
        for mark in live(page).locator(".mark-symbol.role-mark path").all()
    ]


def methods(page: Any) -> list[str]:
    ready(page)
    rows = page.locator(".atlas-one:not([hidden]) tr[data-family]:visible")
    return [
        f"{row.locator('th').inner_text()} {row.locator('td').first.inner_text()}"
        for row in rows.all()
    ]


def column(page: Any, label: str) -> list[float]:
    """The numbers of a column as they stand, from top to bottom."""
    ready(page)
    cells = page.locator(
        f".atlas-one:not([hidden]) tr[data-family]:visible td[data-label='{label}']"
    )
    return [float(cell.get_attribute("data-value") or "nan") for cell in cells.all()]


def numbers(page: Any, label: str) -> list[float]:
    return [value for value in column(page, label) if value == value]


# Boards


def test_protocol_and_model_choose_the_board(visit: Callable[..., Any], home: str) -> None:
    seen = visit(home=home)
    page = seen.open("leaderboard.html")
    head = page.locator(".atlas-one:visible h2")
    expect(head).to_have_text(["smol: smollm2-135m on CPU"])
    page.get_by_label("Model and device").select_option("smollm2-135m on a GPU, float32")
    expect(head).to_have_text(["smol: smollm2-135m on a GPU"])
    assert len(methods(page)) == 2
    assert address(page).endswith(f"?protocol=smol&on={GPU}")
    page.get_by_label("Protocol").select_option("quick")
    expect(head).to_have_text(["quick: smollm2-135m on CPU"])
    assert len(marks(page)) == 1
    page.go_back()
    expect(head).to_have_text(["smol: smollm2-135m on a GPU"])
    assert len(marks(page)) == 2
    page.go_back()
    expect(page.get_by_label("Model and device")).to_have_value(CPU)
    assert seen.complaints == []


def test_a_shared_address_shows_the_same(visit: Callable[..., Any], home: str) -> None:
    page = visit(home=home).open(
        f"leaderboard.html?protocol=smol&on={CPU}&chart=speed&sort=speed&hide=3"
    )
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


@pytest.mark.parametrize("query", ["protocol=none", "on=%3Cscript%3E", "sort=x&order=y", "chart=z"])
def test_an_address_of_nonsense_shows_the_first_board(
    visit: Callable[..., Any], home: str, query: str
) -> None:
    seen = visit(home=home)
    page = seen.open(f"leaderboard.html?{query}")
    assert page.locator(".atlas-one:visible").count() == 1
    assert len(methods(page)) == len(marks(page)) > 10
    assert seen.complaints == []


def test_every_board_is_there_without_javascript(visit: Callable[..., Any], home: str) -> None:
    page = visit(home=home, java_script_enabled=False).open("leaderboard.html")
    assert page.locator("table.atlas-board:visible").count() == 4
    assert page.locator(".atlas-chart--wide svg:visible").count() == 4
    assert page.locator(".atlas-controls:visible").count() == 0
    assert page.locator(".atlas-key input").count() == 0


# Order


@pytest.mark.parametrize("label", ["Wikipedia", "C4", "× dense", "Parameters", "MACs", "Pruning"])
def test_columns_sort_from_their_smaller_end(visit: Callable[..., Any], label: str) -> None:
    page = visit().open("leaderboard.html")
    head = page.get_by_role("button", name=label, exact=True)
    head.click()
    values = column(page, label)
    assert len(values) > 10
    assert values == sorted(values)
    expect(page.locator("th[aria-sort]")).to_have_attribute("aria-sort", "ascending")
    head.click()
    assert column(page, label) == sorted(values, reverse=True)
    expect(page.locator("th[aria-sort]")).to_have_attribute("aria-sort", "descending")


@pytest.mark.parametrize("label", ["Prefill", "Speed"])
def test_what_is_not_measured_stands_last(visit: Callable[..., Any], label: str) -> None:
    page = visit().open("leaderboard.html")
    head = page.locator("thead").get_by_role("button", name=label, exact=True)
    for _ in range(2):
        head.click()
        values = column(page, label)
        measured = numbers(page, label)
        assert len(measured) == 7
        assert values[:7] == measured


def test_the_order_by_kind_comes_back(visit: Callable[..., Any]) -> None:
    page = visit().open("leaderboard.html")
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
    assert page.locator("tr.family:visible").count() == 4


def test_a_family_can_be_left_out(visit: Callable[..., Any]) -> None:
    page = visit().open("leaderboard.html")
    page.get_by_label("Single weights").uncheck()
    expect(page.locator("tr.family:visible")).to_have_count(3)
    assert all(":" in name or name.startswith(("FLAP", "ShortGPT")) for name in methods(page))
    assert len(methods(page)) == len(marks(page)) == 13
    assert address(page).endswith("?hide=0")


def test_of_many_rows_the_first_are_shown(visit: Callable[..., Any], home: str) -> None:
    page = visit(home=home).open("leaderboard.html?on=smollm2-135m-bfloat16-cpu&sort=removed")
    rows = page.locator(".atlas-one:not([hidden]) tr[data-family]:visible")
    expect(rows).to_have_count(200)
    assert rows.first.locator("td.removed").inner_text().startswith("0 %")
    page.get_by_role("button", name=f"Show all {MANY} rows").click()
    expect(rows).to_have_count(MANY)
    expect(page.get_by_role("button", name="Show all")).to_have_count(0)


# Charts


@pytest.mark.parametrize(("name", "missing"), [("Size", 0), ("Speed", 12), ("Pruning time", 0)])
def test_the_charts_show_what_was_measured(
    visit: Callable[..., Any], records: list[Record], name: str, missing: int
) -> None:
    seen = visit()
    page = seen.open("leaderboard.html")
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
    assert seen.complaints == []


def test_the_page_says_what_it_shows_once_it_does(visit: Callable[..., Any]) -> None:
    page = visit().open("leaderboard.html")
    shows = "document.documentElement.dataset.shows ?? null"
    assert page.evaluate(shows) == ""
    press = "document.querySelector('.atlas-against [value=speed]').click()"
    assert page.evaluate(f"{press}; {shows}") is None  # the chart takes a while
    assert all(mark.startswith(("FLAP", "ShortGPT")) for mark in marks(page))
    assert page.evaluate(shows) == "?chart=speed"


def test_families_differ_by_shape_and_colour(visit: Callable[..., Any]) -> None:
    page = visit().open("leaderboard.html")
    shapes: dict[str, set[str]] = {}
    for mark in live(page).locator(".mark-symbol.role-mark path").all():
        colour = mark.evaluate("mark => getComputedStyle(mark).stroke")
        shapes.setdefault(colour, set()).add(mark.get_attribute("d") or "")
    assert len(shapes) == 4
    assert all(len(paths) == 1 for paths in shapes.values())
    assert len(set.union(*shapes.values())) == 4


def test_collapsed_runs_are_hollow(visit: Callable[..., Any]) -> None:
    page = visit().open("leaderboard.html")
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    for mark in live(page).locator(".mark-symbol.role-mark path").all():
        fill = mark.evaluate("mark => getComputedStyle(mark).fill")
        assert ("collapsed" in (mark.get_attribute("aria-label") or "")) == (fill == paper)


def test_the_chart_follows_the_palette(visit: Callable[..., Any]) -> None:
    page = visit(scheme="dark").open("leaderboard.html")
    mark = live(page).locator(".mark-symbol.role-mark path").first
    stroke = "mark => getComputedStyle(mark).stroke"
    dark = mark.evaluate(stroke)
    page.get_by_title("Switch to light colours").click()
    expect(mark).not_to_have_css("stroke", dark)


def test_a_point_leads_to_its_record(visit: Callable[..., Any], records: list[Record]) -> None:
    seen = visit()
    page = seen.open("leaderboard.html")
    mark = live(page).locator("path[aria-label^='ShortGPT, 20 %']")
    mark.hover()
    readout = page.locator(".atlas-readout")
    expect(readout).to_contain_text("ShortGPT, 20 %: 4.90 times the dense perplexity")
    expect(readout).to_contain_text("generates 1.25 times as fast")
    mark.click()
    (record,) = [r for r in records if r.method == "shortgpt" and r.asked == 0.2]
    page.wait_for_url(f"**/{record_address(record)}")
    assert record.command in page.locator(".atlas-record:target").inner_text()
    assert seen.complaints == []


def test_the_chart_can_be_read_by_keyboard(visit: Callable[..., Any]) -> None:
    seen = visit()
    page = seen.open("leaderboard.html")
    live(page)
    page.locator(".atlas-stage").focus()
    readout = page.locator(".atlas-readout strong")
    order = []
    page.keyboard.press("Home")
    for _ in range(30):
        order.append(readout.inner_text())
        page.keyboard.press("ArrowRight")
    assert set(order) == set(marks(page))
    assert order[-1] == order[-2]  # it stops at the last one
    page.keyboard.press("ArrowLeft")
    expect(readout).not_to_have_text(order[-1])
    page.keyboard.press("Escape")
    expect(readout).to_have_count(0)
    page.keyboard.press("ArrowRight")
    title = readout.inner_text()
    page.keyboard.press("Enter")
    page.wait_for_url("**/records/*.html#*")
    assert title.split(",")[0] in page.locator("h1").inner_text()
    assert seen.complaints == []


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
    for path in ("index.html", "catalog.html", "records/flap.html"):
        seen = visit()
        page = seen.open(path)
        assert seen.complaints == []
        loaded = page.evaluate("performance.getEntriesByType('resource').map(one => one.name)")
        assert not [name for name in loaded if "vega" in name]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", ["records/flap.html", "leaderboard.html?chart=speed&sort=speed"])
def test_axe_finds_nothing_serious(visit: Callable[..., Any], path: str, scheme: str) -> None:
    page = visit(scheme=scheme).open(path)
    found = [
        f"{violation['id']}: {node['target']} {node['failureSummary']}"
        for violation in Axe().run(page).response["violations"]
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
    ]
    assert found == []


@pytest.mark.parametrize("width", [360, 768, 1440])
def test_records_fit_every_width(visit: Callable[..., Any], width: int) -> None:
    seen = visit(width)
    page = seen.open("records/flap.html")
    page.locator(".atlas-record summary").first.click()
    assert page.evaluate("document.documentElement.scrollWidth") == width
    for one in page.locator(".atlas-record :is(pre, table, dl)").all():
        box = one.bounding_box()
        assert box is None or box["x"] + box["width"] <= width
    assert seen.complaints == []


# Repeat a number


def command_shown(visit: Callable[..., Any], name: str, setting: str) -> tuple[Any, list[str]]:
    """What three clicks from the home page show: the leaderboard, the record, a copy button."""
    seen = visit(permissions=["clipboard-read", "clipboard-write"])
    page = seen.open("index.html")
    page.get_by_role("link", name="Leaderboard", exact=True).first.click()
    page.wait_for_url("**/leaderboard.html")
    live(page)
    row = page.locator("tr[data-family]").filter(has=page.get_by_role("link", name=name))
    row = row.filter(has=page.locator("td.removed", has_text=setting))
    row.get_by_role("link", name="seed 0").click()
    page.wait_for_url("**/records/*.html#*")
    texts = []
    for block in page.locator(".atlas-record:target pre").all():
        texts.append(copied(page, block))
    assert seen.complaints == []
    return page, texts


def test_the_command_of_a_number_can_be_copied(
    visit: Callable[..., Any], records: list[Record]
) -> None:
    (record,) = [r for r in records if r.method == "sparsegpt" and r.pattern == "2:4"]
    _, texts = command_shown(visit, "SparseGPT", "2:4")
    assert texts[0] == record.command
    assert texts[1] == f"atlas verify {record.name}-{record.key[:8]}.json"


@pytest.fixture
def cut(tmp_path: Path) -> Path:
    """The embedded model's first two blocks: seconds instead of minutes, and no language."""
    from transformers import AutoModelForCausalLM

    from implementations.harness.download.embedded import embedded_model

    whole = embedded_model()
    folder = tmp_path / "cut"
    AutoModelForCausalLM.from_pretrained(whole, num_hidden_layers=2).save_pretrained(folder)
    for file in whole.glob("*token*"):
        shutil.copy(file, folder)
    return folder


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
        shown = page.locator(".atlas-record:target").inner_text()
    whole, _, short = texts
    assert shlex.split(whole)[:5] == ["atlas", "run", "sparsegpt", "--pattern", "2:4"]
    assert short == whole.replace("--protocol smol", "--protocol quick")
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
    assert mine.values.keys() == mine.dense.values.keys() == set(PROTOCOLS["quick"].metrics)
