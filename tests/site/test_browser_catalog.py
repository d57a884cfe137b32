"""The catalog in Chromium: facets, order, address, saved files, phone, keyboard."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
from playwright.sync_api import Page, expect

from tests.catalog.synthetic import papers
from tests.site.visiting import everything, moved, ready, until
from tools.catalog.exports.bibtex import bibtex
from tools.catalog.exports.bibtex import keys as bibtex_keys
from tools.catalog.schema.addresses import best_page
from tools.site.atlas import Atlas
from tools.site.formatting import venue
from tools.site.pages import catalog
from tools.site.paper_facts import first_public

pytestmark = pytest.mark.browser

SHOWN = """() => [...document.querySelectorAll('#atlas-catalog tbody tr:not([hidden])')]
  .map(row => row.querySelector('th a')).map(link => link.pathname.match(/(\\w+)\\.html/)[1])"""
COUNTS = """name => Object.fromEntries([...document.querySelectorAll(`[name="${name}"]`)]
  .map(box => [box.value, Number(box.parentElement.lastElementChild.textContent)]))"""


@pytest.fixture(scope="module")
def lines(atlas: Atlas) -> dict[str, catalog.Line]:
    return {line.slug: line for line in catalog._lines(atlas)}


def shown(page: Page) -> list[str]:
    everything(page)
    found: list[str] = page.evaluate(SHOWN)
    return found


def choose(page: Page, facet: str, value: str) -> None:
    """Open a facet's panel, tick a choice, close the panel."""
    panel = page.locator(f'[data-facet="{facet}"]')
    panel.locator("summary").click()
    panel.locator(f'input[value="{value}"]').check()
    panel.locator("summary").click()


def query(page: Page) -> dict[str, list[str]]:
    ready(page)
    made: dict[str, list[str]] = {}
    for name, value in parse_qsl(page.evaluate("location.search.slice(1)")):
        made.setdefault(name, []).append(value)
    return made


def plain(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))


def test_each_facet_shows_only_matching_papers(
    visit: Callable[..., Any], lines: dict[str, catalog.Line]
) -> None:
    visitor = visit()
    page = visitor.open("catalog.html")
    facets = list(catalog._facets(list(lines.values())))
    assert len(facets) >= 16
    for facet in facets:
        name, value = facet.choices[0].name, facet.choices[0].value
        choose(page, facet.name, value)
        expected = {slug for slug, line in lines.items() if value in line.words[name]}
        assert set(shown(page)) == expected, f"{facet.name}: {value}"
        assert query(page) == {name: [value]}
        page.get_by_role("button", name=f"Remove {facet.label}: {facet.choices[0].label}").click()
        expect(page.locator("#atlas-shown")).to_have_text(str(len(lines)))
    assert visitor.complaints == []


def test_common_filters_are_switched_on_and_off_by_one_button(visit: Callable[..., Any]) -> None:
    page = visit().open("catalog.html")
    common = page.get_by_role("group", name="Common filters")
    common.get_by_role("button", name="experts").click()
    common.get_by_role("button", name="permissive licence").click()
    assert query(page) == {"prunes": ["experts"], "licence": ["permissive"]}
    assert {"naee", "reap"} <= set(shown(page))
    assert {row["code_license"] for row in sheet(page)} <= {"MIT", "Apache-2.0"}
    expect(common.get_by_role("button", name="experts", pressed=True)).to_be_visible()
    common.get_by_role("button", name="experts").click()
    assert query(page) == {"licence": ["permissive"]}


def test_models_are_found_by_name_and_chosen_by_family(
    visit: Callable[..., Any], lines: dict[str, catalog.Line]
) -> None:
    page = visit().open("catalog.html")
    panel = page.locator('[data-facet="models"]')
    panel.locator("summary").click()
    listed = panel.locator("label:visible > span:first-of-type")
    names = listed.all_inner_texts()
    models = {model for line in lines.values() for model in line.paper.models or ()}
    assert len(names) < len(models) / 1.8
    assert {"Llama 3 (any)", "LLaMA-2", "Qwen (any)"} <= set(names)
    assert "LLaMA-3.1" not in names
    search = panel.get_by_label("Find a model")
    search.fill("llama 3.1")
    assert listed.all_inner_texts() == ["Llama 3 (any)", "LLaMA-3.1"]
    search.fill("qwen")
    assert {"Qwen (any)", "Qwen2.5", "Qwen3-MoE"} <= set(listed.all_inner_texts())
    assert query(page) == {}, "a search in the list is no filter"
    # Models of one family widen the result, another family narrows it.
    panel.get_by_label("Qwen2.5").check()
    panel.get_by_label("Qwen3-MoE").check()
    qwen = {
        slug
        for slug, line in lines.items()
        if {"Qwen2.5", "Qwen3-MoE"} & set(line.paper.models or ())
    }
    assert set(shown(page)) == qwen
    search.fill("")
    assert {"Qwen2.5", "Qwen3-MoE"} <= set(listed.all_inner_texts()), "chosen ones stay in sight"
    panel.get_by_label("Llama 3 (any)").check()
    both = {slug for slug in qwen if "Llama 3" in lines[slug].words["family"]}
    assert set(shown(page)) == both
    assert 0 < len(both) < len(qwen)
    assert query(page) == {"family": ["Llama 3"], "models": ["Qwen2.5", "Qwen3-MoE"]}
    for row in sheet(page):
        assert set(row["models"].split("; ")) == set(lines[row["slug"]].paper.models or ())


def test_counts_follow_the_other_choices(
    visit: Callable[..., Any], lines: dict[str, catalog.Line]
) -> None:
    page = visit().open("catalog.html?find=calibration")
    left = [lines[slug] for slug in shown(page)]
    choose(page, "granularity", "structured")
    structured = [line for line in left if "structured" in line.words["granularity"]]
    assert page.evaluate(COUNTS, "calibration")["forward"] == sum(
        "forward" in line.words["calibration"] for line in structured
    )
    # The counts of a facet ignore its own choice, so they show what its other values would add.
    assert page.evaluate(COUNTS, "granularity")["unstructured"] == sum(
        "unstructured" in line.words["granularity"] for line in left
    )


@pytest.mark.parametrize("sort", ["name", "venue", "year", "loss-20", "loss-50"])
def test_rows_can_be_sorted_in_both_directions(
    visit: Callable[..., Any], atlas: Atlas, lines: dict[str, catalog.Line], sort: str
) -> None:
    page = visit().open("catalog.html")
    page.get_by_label("Sort by").select_option(sort)

    def losses(slugs: list[str]) -> list[float | None]:
        place = ["loss-20", "loss-50"].index(sort)
        results = [lines[slug].results[place] for slug in slugs]
        return [result.ratio if result else None for result in results]

    forwards = shown(page)
    page.get_by_role("button", name="Reverse the order").click()
    backwards = shown(page)
    assert sorted(forwards) == sorted(backwards) == sorted(lines)
    if sort == "name":
        names = [plain(atlas.names[slug]).lower() for slug in forwards]
        assert names == sorted(names)
        assert forwards[0] == backwards[-1]
    elif sort == "year":
        years = [year for slug in forwards if (year := lines[slug].paper.year)]
        assert years == sorted(years, reverse=True)
        unknown = [None] * (len(lines) - len(years))
        assert unknown
        assert [lines[slug].paper.year for slug in forwards] == [*years, *unknown]
        assert [lines[slug].paper.year for slug in backwards] == [*sorted(years), *unknown]
    elif sort == "venue":
        # Sorted by the text of the cell, which includes the year: ACL before ICML before TMLR.
        venues = [venue(lines[slug].paper).lower() for slug in forwards]
        assert venues == sorted(venues)
        assert venues[0].startswith("aaai")
        assert [venue(lines[slug].paper).lower() for slug in backwards] == venues[::-1]
    else:
        measured = [loss for loss in losses(forwards) if loss is not None]
        assert len(measured) >= 2
        unknown = [None] * (len(lines) - len(measured))
        assert losses(forwards) == [*sorted(measured), *unknown]
        assert losses(backwards) == [*sorted(measured, reverse=True), *unknown]


GROUPS = """() => {
  const groups = [];
  for (const row of document.querySelectorAll('#atlas-catalog tbody tr:not([hidden])')) {
    if (row.classList.contains('atlas-group')) {
      const [name, count] = row.querySelector('th').childNodes;
      groups.push([name.textContent, count.textContent, []]);
    } else groups.at(-1)[2].push(row.querySelector('th a').pathname.match(/(\\w+)\\.html/)[1]);
  }
  return groups;
}"""


def groups(page: Page) -> list[tuple[str, str, list[str]]]:
    """Return heading, count and slugs of each group of rows."""
    everything(page)
    return [(name, count, slugs) for name, count, slugs in page.evaluate(GROUPS)]


def test_rows_are_grouped_by_year(
    visit: Callable[..., Any], lines: dict[str, catalog.Line]
) -> None:
    visitor = visit()
    page = visitor.open("catalog.html?group=year")
    expect(page.get_by_label("Group by")).to_have_value("year")
    found = groups(page)
    years = [int(name) for name, _, _ in found[:-1]]
    assert years == sorted({line.paper.year for line in lines.values() if line.paper.year})[::-1]
    assert found[-1][0] == "No year"
    for name, count, slugs in found:
        year = None if name == "No year" else int(name)
        assert {slug for slug, line in lines.items() if line.paper.year == year} == set(slugs)
        assert count == f"{len(slugs)} {'entry' if len(slugs) == 1 else 'entries'}"
    # Newest first within a year; in reverse, a timeline that starts with the first paper.
    for _, _, slugs in found[:-1]:
        dates = [first_public(lines[slug].paper) for slug in slugs]
        assert dates == sorted(dates, reverse=True)
    page.get_by_role("button", name="Reverse the order").click()
    turned = groups(page)
    assert [name for name, _, _ in turned[:-1]] == [name for name, _, _ in found[:-1]][::-1]
    assert turned[0][2] == found[-2][2][::-1]
    assert visitor.complaints == []


def test_papers_with_two_topics_are_in_both_groups(
    visit: Callable[..., Any], lines: dict[str, catalog.Line]
) -> None:
    page = visit().open("catalog.html")
    page.get_by_label("Group by").select_option("topic")
    assert query(page) == {"group": ["topic"]}
    found = {name: slugs for name, _, slugs in groups(page)}
    topics = [word for line in lines.values() for word in line.words["topic"]]
    assert found.keys() == {word.replace("-", " ") for word in topics} | {"No topic"}
    for word in set(topics):
        wanted = {slug for slug, line in lines.items() if word in line.words["topic"]}
        assert set(found[word.replace("-", " ")]) == wanted
    twice = [slug for slug, line in lines.items() if len(line.words["topic"]) > 1]
    assert twice
    for slug in twice:
        assert sum(slug in slugs for slugs in found.values()) == len(lines[slug].words["topic"])
        assert page.get_by_label(f"Select {lines[slug].paper.name or slug}").count() <= 1
    expect(page.locator("#atlas-shown")).to_have_text(str(len(lines)))
    page.get_by_label("Group by").select_option("nothing")
    assert page.locator(".atlas-extra").count() == 0
    assert query(page) == {}


def test_papers_sorted_by_the_date_added_show_it(
    visit: Callable[..., Any], lines: dict[str, catalog.Line]
) -> None:
    page = visit().open("catalog.html?sort=added")
    days = [lines[slug].paper.added for slug in shown(page)]
    assert days == sorted(days, reverse=True)
    assert len(set(days)) > 1
    content = "cell => getComputedStyle(cell, '::after').content"
    cell = page.locator("#atlas-catalog tbody td[data-added]").first
    assert days[0] in cell.evaluate(content)
    page.get_by_label("Sort by").select_option("year")
    assert cell.evaluate(content) == "none"


def test_column_headers_sort_and_show_the_order(visit: Callable[..., Any]) -> None:
    page = visit().open("catalog.html")
    head = page.locator('thead [data-sort="loss-20"]')
    head.get_by_role("button").press("Enter")
    expect(head).to_have_attribute("aria-sort", "ascending")
    assert query(page) == {"sort": ["loss-20"]}
    expect(head.get_by_role("button")).to_be_focused()
    assert shown(page)[:2] == ["flap", "shortgpt"]
    head.get_by_role("button").press("Space")
    expect(head).to_have_attribute("aria-sort", "descending")
    assert query(page) == {"sort": ["-loss-20"]}
    assert shown(page)[:2] == ["shortgpt", "flap"]


def test_a_shared_address_restores_the_same_view(visit: Callable[..., Any], atlas: Atlas) -> None:
    first = visit().open("catalog.html")
    choose(first, "granularity", "structured")
    choose(first, "code", "official")
    first.get_by_label("Search", exact=True).last.fill("attention")
    ready(first)
    first.get_by_label("Sort by").select_option("name")
    address = "catalog.html" + first.evaluate("location.search")
    second = visit().open(address)
    assert shown(second) == shown(first)
    assert 0 < len(shown(second)) < len(atlas.papers) / 2
    assert second.get_by_label("Search", exact=True).last.input_value() == "attention"
    assert second.get_by_label("Sort by").input_value() == "name"
    chips = second.locator("#atlas-chosen button").all_inner_texts()
    assert chips == ["Granularity: structured ×", "Code: official ×"]


def test_the_back_button_takes_one_step_back(visit: Callable[..., Any]) -> None:
    page = visit().open("catalog.html")
    whole = shown(page)
    choose(page, "granularity", "structured")
    structured = shown(page)
    page.get_by_label("Search", exact=True).last.press_sequentially("rank")
    narrow = shown(page)
    assert len(whole) > len(structured) > len(narrow) > 0
    page.go_back()
    assert shown(page) == structured, "a word typed is one step, not one a letter"
    page.go_back()
    assert shown(page) == whole
    assert query(page) == {}
    page.go_forward()
    assert shown(page) == structured


def test_reset_clears_all_filters(visit: Callable[..., Any], atlas: Atlas) -> None:
    page = visit().open("catalog.html?find=a&granularity=structured&sort=-name")
    assert len(shown(page)) < len(atlas.papers)
    page.get_by_role("button", name="Reset").click()
    assert len(shown(page)) == len(atlas.papers)
    assert query(page) == {}
    expect(page.locator("#atlas-chosen li")).to_have_count(0)
    expect(page.get_by_label("Sort by")).to_have_value("year")


def test_unknown_values_in_the_address_are_ignored(visit: Callable[..., Any]) -> None:
    visitor = visit()
    page = visitor.open("catalog.html?granularity=nonsense&sort=constructor&what=ever")
    assert len(shown(page)) == int(page.locator("#atlas-shown").inner_text())
    assert len(shown(page)) > 30
    assert visitor.complaints == []


def saved(page: Page, button: str = "Save as CSV") -> str:
    with page.expect_download() as download:
        page.get_by_role("button", name=button).click()
    return download.value.path().read_bytes().decode("utf-8-sig")


def sheet(page: Page) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(saved(page), newline="")))


def test_the_csv_contains_the_visible_rows(
    visit: Callable[..., Any], lines: dict[str, catalog.Line], atlas: Atlas
) -> None:
    page = visit().open("catalog.html?granularity=structured&sort=loss-20")
    table = sheet(page)
    assert [row["slug"] for row in table] == shown(page)
    for row in table:
        line = lines[row["slug"]]
        assert row["name"] == atlas.names[line.slug]
        assert row["title"] == line.paper.title
        assert row["authors"] == ", ".join(line.paper.authors or ())
        assert row["year"] == str(line.paper.year or "")
        assert bool(row["venue"]) is line.paper.has_paper
        assert sorted(row["prunes"].split("; ")) == sorted(line.words["prunes"] or [""])
        assert row["code_license"] == ((line.repository and line.repository.license) or "")
    assert (table[0]["slug"], table[0]["loss-20"]) == ("flap", "1.82")
    assert table[-1]["loss-20"] == ""


def test_selected_rows_can_be_cited_saved_and_compared(
    visit: Callable[..., Any], atlas: Atlas
) -> None:
    visitor = visit(permissions=["clipboard-read", "clipboard-write"])
    page = visitor.open("catalog.html?find=pruning&sort=name")
    keys = bibtex_keys(atlas.papers)
    for slug in ("flap", "wanda", "sparsegpt"):
        page.get_by_label("Search", exact=True).last.fill(slug)
        everything(page)
        page.get_by_label(f"Select {atlas.names[slug]}", exact=True).check()
    chosen = page.locator(".atlas-picked")
    expect(chosen.locator("strong")).to_have_text("3")
    entries = "".join(
        bibtex(slug, atlas.papers[slug], keys[slug]) for slug in ("flap", "wanda", "sparsegpt")
    )
    assert saved(page, "Save selected as BibTeX").split() == entries.split()
    listed = saved(page, "Save selected as Markdown").splitlines()
    assert [line.split("**")[1] for line in listed] == ["FLAP", "Wanda", "SparseGPT"]
    paper = atlas.papers["sparsegpt"]
    assert f"[{paper.title}]({best_page(paper)})" in listed[2]
    assert listed[2].endswith(f". {', '.join(paper.authors or ())}. ICML 2023")
    # A single paper can be cited from its row.
    page.evaluate("navigator.clipboard.writeText('')")
    page.get_by_role("button", name="Copy BibTeX of SparseGPT", exact=True).click()
    text = str(until(page, "navigator.clipboard.readText()"))
    assert text.strip() == bibtex("sparsegpt", paper, keys["sparsegpt"]).strip()
    # The selection is in the address and leads to Compare.
    assert query(page)["pick"] == ["flap,wanda,sparsegpt"]
    chosen.get_by_role("link", name="Compare 3").click()
    page.wait_for_url("**/leaderboard.html?compare=flap,wanda,sparsegpt")
    page.go_back()
    ready(page)
    expect(chosen.locator("strong")).to_have_text("3")
    page.get_by_role("button", name="Clear selection").click()
    assert "pick" not in query(page)
    expect(chosen).to_be_hidden()
    assert visitor.complaints == []


def test_an_empty_result_suggests_which_filter_to_remove(visit: Callable[..., Any]) -> None:
    page = visit().open("catalog.html?find=frantar&granularity=semi-structured&kind=survey")
    advice = page.locator(".atlas-loosen")
    expect(advice.locator("p")).to_have_text("No paper matches all of these filters.")
    way = advice.get_by_role("button", name=re.compile(r"^Without Kind: survey: \d entries"))
    count = int(re.findall(r"\d+", way.inner_text())[0])
    way.click()
    assert len(shown(page)) == count > 0
    assert sorted(query(page)) == ["find", "granularity"]
    expect(advice).to_be_hidden()
    page.get_by_label("Search", exact=True).last.fill("zzzzzz")
    ready(page)
    way = advice.get_by_role("button", name=re.compile("^Without “zzzzzz”: "))
    count = int(re.findall(r"\d+", way.inner_text())[0])
    way.click()
    assert len(shown(page)) == count > 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_rows_are_cards_on_a_phone(visit: Callable[..., Any], scheme: str) -> None:
    visitor = visit(360, scheme)
    page = visitor.open("catalog.html")
    card = page.locator("#atlas-catalog tbody tr").first
    box = card.bounding_box()
    assert box is not None
    assert box["width"] <= 360
    assert card.evaluate("row => getComputedStyle(row).display") == "flex"
    head = page.locator("#atlas-catalog thead").bounding_box()
    assert head is not None
    assert head["width"] == 1, "heads are for screen readers alone"
    assert not page.locator("#atlas-facets").is_visible()
    filters = page.get_by_role("button", name="Filters")
    filters.click()
    expect(filters).to_have_attribute("aria-expanded", "true")
    choose(page, "granularity", "structured")
    expect(filters).to_have_text("Filters 1")
    for facet in page.locator(".atlas-facet").all():
        facet.locator("summary").click()
        until(page, "document.documentElement.scrollWidth <= 360")
    assert visitor.complaints == []


def test_facet_panels_stay_within_the_page(visit: Callable[..., Any]) -> None:
    page = visit(1000).open("catalog.html")
    inside = """[...document.querySelectorAll('[data-facet="%s"] fieldset')].some(panel => {
      const {left, right, width} = panel.getBoundingClientRect();
      return width > 0 && left >= 0 && right <= innerWidth;
    })"""
    for facet in page.locator(".atlas-facet").all():
        facet.locator("summary").click()
        until(page, inside % facet.get_attribute("data-facet"))
    expect(page.locator(".atlas-facet[open]")).to_have_count(1)


def test_everything_works_with_the_keyboard(visit: Callable[..., Any]) -> None:
    page = visit().open("catalog.html")
    summary = page.locator('[data-facet="granularity"] summary')
    summary.focus()
    outline = "element => getComputedStyle(element).outlineStyle"
    page.keyboard.press("Tab")
    page.keyboard.press("Shift+Tab")
    expect(summary).to_be_focused()
    assert summary.evaluate(outline) == "solid"
    page.keyboard.press("Enter")
    page.locator('[data-facet="granularity"] fieldset').wait_for()
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert list(query(page)) == ["granularity"]
    page.keyboard.press("Escape")
    expect(page.locator(".atlas-facet[open]")).to_have_count(0)
    expect(summary).to_be_focused()
    expect(summary).to_have_text(re.compile("^Granularity"))
    # The first tab stop is the theme's link to the content; here it leads to the first result.
    page = visit().open("catalog.html?sort=name")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the table")).to_be_focused()
    page.keyboard.press("Enter")
    row = page.locator("#atlas-catalog tbody tr:visible").first
    expect(row.locator("a").first).to_be_focused()
    row.locator("summary").focus()
    page.keyboard.press("Enter")
    expect(row.locator("details p").first).to_be_visible()


def test_print_has_all_rows_and_no_menu(visit: Callable[..., Any]) -> None:
    page = visit().open("catalog.html?granularity=structured")
    page.locator('[data-facet="granularity"] summary').click()
    page.pdf()
    expect(page.locator(".atlas-facet[open]")).to_have_count(0)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    count = int(page.locator("#atlas-shown").inner_text())
    assert page.locator("#atlas-catalog tbody tr:visible").count() == count > 50
    for gone in (".atlas-facet", "fieldset", "#atlas-query", ".md-search", "tbody button"):
        assert page.locator(gone).locator("visible=true").count() == 0, gone
    expect(page.locator("#atlas-chosen")).to_be_visible()


def test_the_table_is_complete_without_javascript(visit: Callable[..., Any], atlas: Atlas) -> None:
    page = visit(java_script_enabled=False).open("catalog.html")
    assert page.locator("#atlas-catalog tbody tr:visible").count() == len(atlas.papers)
    assert not page.locator(".atlas-filter").is_visible()
    top = page.locator("#atlas-catalog").bounding_box()
    assert top is not None
    assert top["y"] < 350, "no room is kept for what cannot be used"


def test_the_layout_does_not_shift_while_the_page_loads(visit: Callable[..., Any]) -> None:
    page = visit().open("catalog.html")
    assert moved(page) < 0.01


@pytest.mark.parametrize("name", ["catalog.html", "claims.html"])
def test_the_caption_is_hidden_until_all_rows_have_arrived(
    visit: Callable[..., Any], site: Path, served: Callable[[Path], Any], tmp_path: Path, name: str
) -> None:
    text = (site / name).read_text(encoding="utf-8")
    start = text[: text.index("</tr>", text.index("<tbody"))]  # as far as the first row
    (tmp_path / name).write_text(start, encoding="utf-8")
    (tmp_path / "assets").symlink_to(site / "assets")
    with served(tmp_path) as home:
        begun = visit(home=home).page
        begun.goto(home + name)
        expect(begun.locator("caption").first).to_have_css("visibility", "hidden")
    expect(visit().open(name).locator("caption").first).to_have_css("visibility", "visible")


# A thousand entries


@pytest.fixture(scope="module")
def thousand(
    site: Path, served: Callable[[Path], Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The built catalog page with the rows and facets of a thousand invented entries.

    One is hostile to spreadsheets.
    """
    made = papers(1000)
    first = next(iter(made))
    made[first] = made[first].model_copy(update={"title": '=HYPERLINK("x")', "year": 2099})
    ((_, text),) = catalog.pages(Atlas(made, {}))
    built = (site / "catalog.html").read_text(encoding="utf-8")
    start, end = '<p class="atlas-catalog__add">', '<p class="atlas-sources">'
    body = text[text.index(start) : text.index(end)]
    folder = tmp_path_factory.mktemp("thousand")
    (folder / "assets").symlink_to(site / "assets")
    (folder / "catalog.html").write_text(
        built[: built.index(start)] + body + built[built.index(end) :], encoding="utf-8"
    )
    with served(folder) as address:
        yield address


def test_a_thousand_rows_are_shown_on_request_and_saved_without_formulas(
    visit: Callable[..., Any], thousand: str
) -> None:
    page = visit(home=thousand).open("catalog.html")
    assert len(page.evaluate(SHOWN)) < 1000
    table = sheet(page)
    assert len(table) == 1000
    assert table[0]["title"] == '\'=HYPERLINK("x")'
    page.get_by_role("button", name="Show all 1000").click()
    assert len(shown(page)) == 1000
    expect(page.get_by_role("button", name="Show all")).to_be_hidden()


def test_a_copy_without_a_clipboard_is_reported(visit: Callable[..., Any]) -> None:
    visitor = visit()
    # As on a page without HTTPS.
    visitor.page.add_init_script(
        "Object.defineProperty(navigator, 'clipboard', {value: undefined})"
    )
    page = visitor.open("catalog.html")
    button = page.get_by_role("button", name="Copy BibTeX of").first
    button.click()
    expect(button).to_have_text("Not copied")
