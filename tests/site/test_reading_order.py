"""Reading order: the papers to read first, counted from the catalog."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import pytest

from tests.catalog.invented import baseline
from tests.catalog.invented import paper as invented
from tools.catalog.schema.paper import Paper
from tools.site.atlas import Atlas
from tools.site.facts import first_public
from tools.site.following import followers
from tools.site.pages import make, reading_order
from tools.site.reading_order import ORDER
from tools.site.words import month, sentence


@pytest.fixture(scope="module")
def atlas(real: Atlas) -> Atlas:
    return real


def paper(submitted: str = "2024-05-01", **more: Any) -> Paper:
    """A small method of some day."""
    words = {"granularity": ["structured"], "criterion": ["gradient"], "calibration": "forward"}
    taxonomy = words | more.pop("taxonomy", {})
    year = int(submitted[:4])
    return invented(submitted=submitted, year=year, taxonomy=taxonomy, **more)


def links(page: str) -> list[str]:
    return re.findall(r'href="(?:\.\./)?papers/(\w+)\.html"', page)


def section(page: str, anchor: str) -> str:
    """What stands under a heading."""
    return page.partition(f"{{ #{anchor} }}")[2].partition("\n## ")[0]


# Start here


def test_who_builds_on_whom_is_counted_directly_and_through_others() -> None:
    made = followers(
        {
            "a": paper(),
            "b": paper(relations={"builds-on": ["a"]}),
            "c": paper(relations={"extends": ["b"], "compares-with": ["a"]}),
            "d": paper(relations={"builds-on": ["a", "b", "d"], "compares-with": ["a"]}),
            "chance": baseline(relations={"builds-on": ["a"]}),
        }
    )
    assert made["a"].direct == {"b", "d"}
    assert made["a"].through == {"c"}
    assert made["a"].compared == {"c", "d"}
    assert str(made["a"]) == (
        "3 papers here build on it, 2 of them directly; 2 measure themselves against it."
    )
    assert str(made["b"]) == "2 papers here build on it."
    assert made["d"].count == 0


def test_a_circle_ends_and_nobody_follows_itself() -> None:
    made = followers(
        {
            "a": paper(relations={"builds-on": ["c"]}),
            "b": paper(relations={"builds-on": ["a"]}),
            "c": paper(relations={"builds-on": ["b"]}),
        }
    )
    assert (made["a"].direct, made["a"].through) == ({"b"}, {"c"})
    assert str(made["a"]) == "2 papers here build on it, 1 of them directly."


def test_the_ground_is_what_most_build_on_each_after_its_own(atlas: Atlas) -> None:
    page = dict(reading_order.pages(atlas))["learn/reading-order.md"]
    steps = reading_order.foundations(atlas.papers)
    counted = followers(atlas.papers)
    shown = [step.slug for step in steps]
    assert {"wanda", "sparsegpt", "obs"} <= set(shown)
    assert set(shown) == {slug for slug, one in counted.items() if one.count >= reading_order.LEAST}
    for earlier, later in pairwise(steps):
        assert later.slug not in counted[later.slug].direct
        assert earlier.slug not in counted[later.slug].direct | counted[later.slug].through
    for step in steps:
        assert f'papers/{step.slug}.html">{atlas.names[step.slug]}</a>' in section(page, "ground")
        assert step.why in section(page, "ground")
    assert list(dict.fromkeys(links(section(page, "ground")))) == shown


def test_bars_are_as_long_as_their_counts(atlas: Atlas) -> None:
    page = dict(reading_order.pages(atlas))["learn/reading-order.md"]
    steps = reading_order.foundations(atlas.papers)
    most = max(step.followers.count for step in steps)
    number = r'="([\d.]+)"'
    bars = re.findall(rf'is-share" width{number}.*?is-through" x{number} width{number}', page)
    assert len(bars) == len(steps)
    for step, (direct, start_, through) in zip(steps, bars, strict=True):
        assert float(direct) == float(start_)
        assert float(direct) == pytest.approx(100 * len(step.followers.direct) / most, abs=0.06)
        assert float(through) == pytest.approx(100 * len(step.followers.through) / most, abs=0.06)


def test_every_survey_is_there_the_newest_first(atlas: Atlas) -> None:
    page = section(dict(reading_order.pages(atlas))["learn/reading-order.md"], "surveys")
    found = links(page)
    kinds = {slug for slug, one in atlas.papers.items() if one.kind == "survey"}
    assert set(found) == kinds
    whens = [first_public(atlas.papers[slug]) for slug in found]
    assert whens == sorted(whens, reverse=True)
    assert f"A review of the field as of {month(atlas.papers[found[0]])}." in page


def test_the_order_by_hand_names_papers_of_the_catalog_once(atlas: Atlas) -> None:
    page = dict(reading_order.pages(atlas))["learn/reading-order.md"]
    slugs = [slug for _, papers in ORDER for slug, _ in papers]
    assert len(slugs) == len(set(slugs)) >= 20
    assert set(slugs) <= set(atlas.methods)
    for _, papers in ORDER:
        for slug, why in papers:
            assert re.search(rf'<li><a href="../papers/{slug}.html">.*{re.escape(why)}', page)
            assert why.endswith(".")
    starts = [int(one) for one in re.findall(r'<ol class="atlas-reading" start="(\d+)">', page)]
    assert starts[0] == 1
    assert starts[-1] + len(ORDER[-1][1]) - 1 == len(slugs)


def test_without_papers_the_page_still_stands() -> None:
    made = make(Atlas({}, {}))
    assert reading_order.reading(Atlas({}, {})) == []
    assert "atlas-steps" not in made["learn/reading-order.md"]


@pytest.mark.parametrize(
    ("date", "said"), [("2024-03-15", "March 2024"), ("2024-03", "March 2024"), ("2024", "2024")]
)
def test_dates_are_said_as_far_as_they_are_known(date: str, said: str) -> None:
    assert month(paper(date)) == said


def test_a_sentence_ends_with_its_stop() -> None:
    assert sentence("Cuts 2.5 % of it. And more.") == "Cuts 2.5 % of it."
    assert sentence("All of it") == "All of it"


# Ways on


def test_the_latest_papers_are_those_public_last_whenever_they_were_added() -> None:
    papers = {
        "old": paper("2023-01-01", added="2026-11-25"),
        "new": paper("2025-01-01", added="2026-01-01"),
        "newest": paper("2025-06-01", added="2026-01-02"),
    }
    page = make(Atlas(papers, {}))["index.md"].partition("Latest papers")[2]
    assert links(page) == ["newest", "new", "old"]


def test_the_form_to_add_a_paper_is_one_click_away() -> None:
    form = "https://example.org/atlas/issues/new?template=add_paper.yml"
    made = make(Atlas({}, {}, repository="https://example.org/atlas"))
    for path in ("catalog.md", "contribute.md"):
        assert f'<a href="{form}">Add a paper</a>' in made[path]
    assert '<a href="contribute.html">Add a paper</a>' in make(Atlas({}, {}))["catalog.md"]
