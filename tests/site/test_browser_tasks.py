"""Tasks of readers, each from the home page within a limited number of clicks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page

from tests.site.visiting import copied, ready, until
from tools.catalog.exports.bibtex import bibtex, keys
from tools.site.answers import Question, first_ranking
from tools.site.atlas import Atlas
from tools.site.formatting import number
from tools.site.pages import catalog
from tools.site.recovery_results import recovery_results

pytestmark = pytest.mark.browser


class Task:
    """A reader who starts on the home page and clicks visible elements; counts the clicks."""

    def __init__(self, visit: Callable[..., Any], width: int = 1280, **more: Any) -> None:
        more["permissions"] = ["clipboard-read", "clipboard-write"]
        self.visitor = visit(width, **more)
        self.page: Page = self.visitor.open("index.html")
        self.clicks = 0

    def click(self, target: Locator) -> None:
        """Click, and wait for the page to which it leads."""
        target.click()
        self.clicks += 1
        self.page.wait_for_load_state()
        ready(self.page)

    def link(self, name: str, within: str = "body") -> None:
        """Click on the first link of a name."""
        self.click(self.page.locator(within).get_by_role("link", name=name, exact=True).first)

    def often(self, name: str) -> None:
        """Click on a question that is often asked."""
        self.link(name, ".atlas-common")

    @property
    def clipboard(self) -> str:
        """What was copied."""
        return str(until(self.page, "navigator.clipboard.readText()"))


@pytest.fixture
def task(visit: Callable[..., Any]) -> Callable[..., Task]:
    return lambda *more, **how: Task(visit, *more, **how)


@pytest.fixture(scope="module")
def real_site(published: Path, served: Callable[[Path], Any]) -> Iterator[str]:
    """The address of the site with the published records."""
    with served(published) as address:
        yield address


def test_best_one_shot_method_at_half_and_its_command(
    task: Callable[..., Task],
) -> None:
    one = task()
    one.often("Which one-shot method is best at 50 %?")
    first = one.page.locator("table.atlas-board tr[data-family]:visible").first
    assert first.locator(".rank").inner_text() == "1"
    assert first.locator("th").inner_text() == "SparseGPT"
    one.click(first.get_by_role("button", name="copy command"))
    assert one.clipboard == "atlas run sparsegpt --sparsity 0.5 --seed 0"
    assert one.clicks <= 2
    assert one.visitor.complaints == []


def test_recent_structured_methods_with_code_and_without_retraining(
    task: Callable[..., Task], atlas: Atlas
) -> None:
    one = task()
    one.often("Structured, no retraining, with code")
    year = one.page.locator('[data-facet="year"]')
    one.click(year.locator("summary"))
    for value in ("2024", "2025"):
        one.click(year.get_by_role("checkbox", name=re.compile(f"^{value}")))
    rows = one.page.locator("#atlas-catalog tbody tr:visible th a:first-child")
    names = {
        atlas.names[line.slug]
        for line in catalog._lines(atlas)
        if line.paper.year in (2024, 2025)
        and "structured" in line.words["granularity"]
        and line.words["retraining"] == ["no"]
        and line.words["code"] != ["none known"]
    }
    assert set(rows.all_inner_texts()) == names
    assert len(names) > 5
    assert one.clicks < 5
    assert one.visitor.complaints == []


def test_claims_of_slimgpt_and_our_measurements(task: Callable[..., Task]) -> None:
    one = task()
    one.page.get_by_role("search", name="Site").get_by_role("textbox").fill("slimgpt")
    one.page.locator(".atlas-found a").first.wait_for()
    one.click(one.page.locator(".atlas-found a").first)
    one.page.wait_for_url("**/papers/slimgpt.html")
    claims = one.page.locator("table.atlas-claims").first
    rows = claims.locator("tbody tr:visible")
    assert rows.count() >= 2
    for row in rows.all():
        assert re.search(r"\d", row.locator('[data-label="Claimed"]').inner_text())
    assert one.clicks == 1
    assert one.visitor.complaints == []


def test_prune_a_model_at_2_4_and_save_it(task: Callable[..., Task]) -> None:
    one = task()
    one.link("Use it", ".md-tabs")
    first = one.page.locator(".md-content .highlight").first
    box = first.bounding_box()
    assert box is not None
    assert box["y"] + box["height"] < 800  # without scrolling
    command = copied(one.page, first).replace("\\\n", "").split()
    assert " ".join(command) == (
        "atlas run sparsegpt --model my-model --pattern 2:4 --dtype bfloat16 --save pruned"
    )
    assert one.clicks == 1
    assert one.visitor.complaints == []


def test_add_a_paper(task: Callable[..., Task]) -> None:
    one = task()
    link = one.page.locator(".atlas-common").get_by_role("link", name="Add a paper")
    # The form is on the host of the repository, which tests do not contact.
    with one.page.expect_request("https://example.org/**") as asked:
        link.click()
    assert asked.value.url.endswith("/atlas/issues/new?template=add_paper.yml")


def test_bibtex_of_three_papers(task: Callable[..., Task], atlas: Atlas) -> None:
    one = task()
    one.link("Catalog", ".md-tabs")
    key = keys(atlas.papers)
    for place in range(3):
        row = one.page.locator("#atlas-catalog tbody tr:visible").nth(place)
        slug = str(row.locator("th a").first.get_attribute("href"))[7:-5]
        one.page.evaluate("navigator.clipboard.writeText('')")
        one.click(row.get_by_role("button", name="Copy BibTeX"))
        assert one.clipboard.strip() == bibtex(slug, atlas.papers[slug], key[slug]).strip()
    assert one.clicks < 5
    assert one.visitor.complaints == []


def test_papers_that_build_on_wanda(task: Callable[..., Task], atlas: Atlas) -> None:
    one = task(1440)
    one.often("What builds on Wanda?")
    drawn = one.page.locator(".atlas-node")
    assert one.page.locator(".atlas-node[aria-current]").get_attribute("data-id") == "wanda"
    assert {"owl", "ria"} < set(drawn.evaluate_all("all => all.map(one => one.dataset.id)"))
    one.click(one.page.locator(".atlas-node[data-id=more-later]"))
    one.page.wait_for_url("**/papers/wanda.html#related")
    listed = one.page.locator(".atlas-related li", has_text="Basis of")
    names = {
        atlas.names[slug]
        for slug, paper in atlas.papers.items()
        if "wanda" in ((paper.relations.builds_on if paper.relations else None) or ())
    }
    assert len(names) > 10
    assert set(listed.locator("a").all_inner_texts()) == names
    assert one.clicks <= 2
    assert one.visitor.complaints == []


def test_read_about_flap_on_a_phone(task: Callable[..., Task]) -> None:
    one = task(390, is_mobile=True, has_touch=True)
    one.link("All numbers")
    one.link("FLAP", "table.atlas-board")
    one.page.wait_for_url("**/papers/flap.html")
    assert one.page.locator("h1").inner_text() == "FLAP"
    assert one.page.evaluate("visualViewport.width") == 390
    assert one.page.locator(".atlas-glance dd a").first.is_visible()
    assert one.clicks <= 2
    assert one.visitor.complaints == []


def test_best_structured_method_without_retraining_at_a_fifth(
    task: Callable[..., Task], real: Atlas, real_site: str
) -> None:
    one = task(home=real_site)
    ranking = first_ranking(real)
    assert ranking is not None
    answers = [each for each in ranking.best(Question("20", structured=True)) if each.rank]
    panel = one.page.locator(".atlas-panels section").first
    shown = panel.locator("li").first.inner_text().split()
    assert shown == [str(answers[0].rank), real.names[answers[0].method], number(answers[0].ratio)]
    one.often("Structured, no retraining, with code")
    one.page.get_by_label("Sort by").select_option("loss-20")
    ready(one.page)
    first = one.page.locator("#atlas-catalog tbody tr:visible th a").first
    untrained = [
        real.names[answer.method]
        for answer in answers
        if "no" in catalog._retraining(real.papers[answer.method])
    ]
    assert first.inner_text() == untrained[0]
    assert one.clicks == 1
    assert one.visitor.complaints == []


def test_is_disp_llm_faithful(task: Callable[..., Task], real: Atlas, real_site: str) -> None:
    one = task(home=real_site)
    one.page.get_by_role("search", name="Site").get_by_role("textbox").fill("disp-llm")
    one.page.locator(".atlas-found a").first.wait_for()
    one.click(one.page.locator(".atlas-found a").first)
    one.page.wait_for_url("**/papers/displlm.html")
    rated = (real.papers["displlm"].fidelity or "").replace("-", " ")
    assert f"implemented here: {rated}" in one.page.locator(".atlas-tags").inner_text()
    ranking = first_ranking(real)
    answer = ranking and ranking.answer("displlm", "20")
    assert answer
    assert answer.budget  # the published run is shorter than the paper's
    strip = one.page.locator(".atlas-glance").inner_text()
    assert number(answer.ratio) in strip
    assert answer.budget in strip
    assert one.clicks == 1
    assert one.visitor.complaints == []


def test_what_recovery_adds(task: Callable[..., Task], real: Atlas, real_site: str) -> None:
    one = task(home=real_site)
    one.often("What does recovery add?")
    results = recovery_results(real)[0]
    assert results
    figure = one.page.locator("figure.atlas-chart", has=one.page.locator(".is-way")).first
    drawn = figure.text_content() or ""
    for method in results.methods:
        assert f"before: {number(method.before)}" in drawn
        assert f"after: {number(method.after)}" in drawn
    assert one.clicks == 1
    assert one.visitor.complaints == []


def test_seven_billion_on_24_gb_in_an_hour_at_30_per_cent(
    task: Callable[..., Task], real_site: str
) -> None:
    one = task(home=real_site)
    one.often("Prune 30 % of a 7B model in an hour on 24 GB")
    row = one.page.locator("#atlas-plans tbody tr:visible").first
    size, unit = row.locator('[data-part="memory"]').inner_text().split()
    assert unit == "GB"
    assert 13.5 < float(size) < 24  # at least the weights in bfloat16
    one.click(row.get_by_role("button", name="copy command"))
    slug = row.get_attribute("data-slug")
    assert one.clipboard.startswith(f"atlas run {slug} --model my-model --sparsity 0.3")
    assert one.clicks == 2
    assert one.visitor.complaints == []


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        (
            "Tried on Llama 3 and Qwen",
            lambda line: {"Llama 3", "Qwen"} <= set(line.words["family"]),
        ),
        (
            "Mixtures of experts, permissive licence",
            lambda line: (
                "moe" in line.words["architecture"] and line.words["licence"] == ["permissive"]
            ),
        ),
    ],
)
def test_papers_by_models_and_by_licence(
    task: Callable[..., Task], atlas: Atlas, name: str, fits: Callable[[catalog.Line], bool]
) -> None:
    one = task()
    one.often(name)
    rows = one.page.locator("#atlas-catalog tbody tr:visible th a:first-child")
    wanted = {atlas.names[line.slug] for line in catalog._lines(atlas) if fits(line)}
    assert len(wanted) > 3
    assert set(rows.all_inner_texts()) == wanted
    assert one.clicks == 1
    assert one.visitor.complaints == []


def test_cite_the_atlas(task: Callable[..., Task]) -> None:
    one = task()
    entry = one.page.locator("pre", has_text="@software{")
    text = copied(one.page, entry.locator(".."))
    assert re.search(r"year = \{20\d\d\}", text)
    assert "url = {https://example.org/atlas}" in text
    assert one.visitor.complaints == []
