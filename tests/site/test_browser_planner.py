"""Planning a run in Chromium: which runs fit, their commands, and why others do not."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from playwright.sync_api import Page, expect

from implementations.harness.cli.commands import app
from tests.site.visiting import address, ready

pytestmark = pytest.mark.browser

# The texts of the cells by slug, in the order of the rows.
READ = """() => Object.fromEntries(
  [...document.querySelectorAll('#atlas-plans tbody tr:not([hidden])')].map(row =>
    [row.dataset.slug, Object.fromEntries([...row.querySelectorAll('[data-part]')].map(part =>
      [part.dataset.part, part.textContent]))]))"""
EXCLUDED = """() => Object.fromEntries(
  [...document.querySelectorAll('.atlas-unplanned li')].flatMap(entry =>
    [...entry.querySelectorAll('a')].map(link =>
      [link.getAttribute('href').slice(7, -5), entry.querySelector('span').textContent])))"""
PER_CENT = "\N{NO-BREAK SPACE}%"


@pytest.fixture(scope="module")
def home(published: Path, served: Callable[[Path], Any]) -> Iterator[str]:
    with served(published) as address:
        yield address


def shown(page: Page) -> dict[str, dict[str, str]]:
    """Return the cells of the methods that fit, by slug and column, best first."""
    ready(page)
    return dict(page.evaluate(READ))


def excluded(page: Page) -> dict[str, str]:
    """Return the reasons why methods do not fit, by slug."""
    ready(page)
    return dict(page.evaluate(EXCLUDED))


@pytest.mark.parametrize(
    "query",
    [
        "hours=1",
        "model=70&removes=2:4&hours=100",
        "model=0.6&device=cpu&calibration=smol&hours=100",
    ],
)
def test_every_command_is_accepted_by_the_command_line(
    visit: Callable[..., Any], home: str, query: str
) -> None:
    run = typer.main.get_command(app).commands["run"]  # type: ignore[attr-defined]
    rows = shown(visit(home=home).open(f"choose.html?{query}"))
    assert rows
    for slug, row in rows.items():
        arguments = shlex.split(row["command"])[2:]
        assert "--set" not in arguments  # such settings were tuned on another model
        assert run.make_context("run", arguments).params["method"] == slug


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


def test_the_formula_is_shown_without_javascript(visit: Callable[..., Any], home: str) -> None:
    page = visit(home=home, java_script_enabled=False).open("choose.html")
    assert not page.locator(".atlas-request").is_visible()
    assert not page.locator("#atlas-plans").is_visible()
    expect(page.locator("noscript p")).to_contain_text("Planning a run needs JavaScript")
    page.locator("#estimate summary").click()
    expect(page.get_by_role("row", name="calibration activations n t d b")).to_be_visible()


def test_an_invalid_number_hides_the_plan_and_says_what_is_possible(
    visit: Callable[..., Any], home: str
) -> None:
    page = visit(home=home).open("choose.html?hours=1")
    assert shown(page)
    memory = page.get_by_label("Device memory, GB")
    memory.fill("-3")
    state = page.get_by_role("form", name="Plan a run").get_by_role("status")
    expect(state).to_contain_text("Device memory, GB: enter a number from 0.5 to 10000")
    expect(page.locator("#atlas-planned")).to_have_text("–")
    expect(page.locator("#atlas-plans")).not_to_be_visible()
    expect(page.locator(".atlas-unplanned")).not_to_be_visible()
    memory.fill("24")
    expect(state).not_to_contain_text("enter a number")
    expect(page.locator("#atlas-plans")).to_be_visible()


def test_methods_are_listed_by_class_with_their_notes(visit: Callable[..., Any], home: str) -> None:
    page = visit(home=home).open("choose.html?model=1&removes=units&hours=100&share=20")
    rows = shown(page)
    order = list(rows)
    assert rows["loraprune"]["note"].startswith("trained while pruning")
    assert order.index("sobp") < order.index("loraprune")
    reasons = excluded(page)
    # REAP removes experts, and the model of that protocol has none.
    assert reasons["reap"].startswith("not measured with the protocol smol")
