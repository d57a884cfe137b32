"""Planning a run in Chromium: the script computes the answers of `run_plans`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.site.visiting import address, ready
from tools.site import run_plans
from tools.site.answers import first_ranking
from tools.site.atlas import Atlas
from tools.site.method_candidates import candidates
from tools.site.run_plans import Plan, Planned, Question

pytestmark = pytest.mark.browser

# Row by row: slug, then the texts of the cells.
READ = """() => [...document.querySelectorAll('#atlas-plans tbody tr:not([hidden])')].map(row =>
  [row.dataset.slug, ...[...row.querySelectorAll('[data-part]')].map(part => part.textContent)])"""
EXCLUDED = """() => [...document.querySelectorAll('.atlas-unplanned li')].map(entry =>
  [entry.querySelector('span'), ...entry.querySelectorAll('a')].map(part => part.textContent))"""


@pytest.fixture(scope="module")
def home(published: Path, served: Callable[[Path], Any]) -> Iterator[str]:
    with served(published) as address:
        yield address


@pytest.fixture(scope="module")
def methods(real: Atlas) -> list[Planned]:
    ranking = first_ranking(real)
    assert ranking
    return run_plans.planned(candidates(real, ranking.shares), real)


def shown(page: Page) -> tuple[list[list[str]], list[list[str]]]:
    """Return the rows that fit and the excluded methods as the page shows them."""
    ready(page)
    return page.evaluate(READ), page.evaluate(EXCLUDED)


def expected(plans: list[Plan]) -> tuple[list[list[str]], list[list[str]]]:
    fitting = [
        [
            one.method.slug,
            *(one.loss, one.memory, one.place, one.time),
            *(one.verdict.text, one.speed, one.command),
        ]
        for one in plans
        if not one.reason
    ]
    groups = run_plans.excluded(plans).items()
    return fitting, [[reason, *(one.name for one in methods)] for reason, methods in groups]


@pytest.mark.parametrize(
    ("query", "question"),
    [
        ("model=70&memory=80&hours=2&share=20&device=datacenter", {"hours": 2, "share": 0.2}),
        ("model=0.6&memory=8&device=cpu&calibration=smol&share=50", {"hours": 1, "share": 0.5}),
        ("model=13&memory=12&hours=10&removes=2:4&target=sparse", {"hours": 10, "share": 0.5}),
        ("model=8&memory=140&hours=100&removes=units&target=gguf", {"hours": 100, "share": 0.3}),
    ],
)
def test_the_script_computes_the_same_as_python(
    visit: Callable[..., Any],
    home: str,
    methods: list[Planned],
    query: str,
    question: dict[str, float],
) -> None:
    page = visit(home=home).open(f"choose.html?{query}")
    given = dict(part.split("=") for part in query.split("&"))
    asked = Question(
        billions=float(given["model"]),
        memory=float(given["memory"]),
        hours=question["hours"],
        share=question["share"],
        device=given.get("device", "consumer"),
        protocol=given.get("calibration", "paper"),
        removes=given.get("removes", ""),
        target=given.get("target", "gpu"),
    )
    plans = run_plans.plans(methods, asked)
    assert any(not one.reason for one in plans)
    assert shown(page) == expected(plans)


def test_the_address_holds_the_request_beside_the_answers(
    visit: Callable[..., Any], home: str
) -> None:
    page = visit(home=home).open("choose.html?gain=size&model=many&memory=-3")
    expect(page.get_by_label("Parameters, billions")).to_have_value("7")
    expect(page.get_by_label("Device memory, GB")).to_have_value("24")
    page.get_by_label("Device memory, GB").fill("8")
    page.get_by_role("group", name="Remove", exact=True).get_by_role("radio", name="2:4").check()
    assert "gain=size" in address(page)
    assert "memory=8" in address(page)
    assert "removes=2:4" in address(page)
    rows = shown(page)
    page.reload()
    assert shown(page) == rows
    page.go_back()
    assert shown(page) != rows
    page.get_by_role("form", name="Plan a run").get_by_role("button", name="Reset").click()
    assert address(page).endswith("choose.html?gain=size")


def test_an_example_and_the_formula_are_shown_without_javascript(
    visit: Callable[..., Any], home: str, methods: list[Planned]
) -> None:
    page = visit(home=home, java_script_enabled=False).open("choose.html")
    assert not page.locator(".atlas-request").is_visible()
    fitting = [one for one in run_plans.plans(methods, Question()) if not one.reason]
    expect(page.locator("#atlas-plans tbody tr:visible")).to_have_count(len(fitting))
    expect(page.locator("noscript p")).to_contain_text("a model of 7 billion parameters")
    page.locator("#estimate summary").click()
    expect(page.get_by_role("row", name="calibration activations n t d b")).to_be_visible()
