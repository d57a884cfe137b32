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
from tools.site.citation_relations import citing_papers
from tools.site.formatting import sentence
from tools.site.pages import reading_order
from tools.site.paper_facts import first_public
from tools.site.render import TEMPLATES


@pytest.fixture(scope="module")
def atlas(real: Atlas) -> Atlas:
    return real


def paper(submitted: str = "2024-05-01", **more: Any) -> Paper:
    """Make a method that was submitted on a given day."""
    words = {"granularity": ["structured"], "criterion": ["gradient"], "calibration": "forward"}
    taxonomy = words | more.pop("taxonomy", {})
    year = int(submitted[:4])
    return invented(submitted=submitted, year=year, taxonomy=taxonomy, **more)


def links(page: str) -> list[str]:
    return re.findall(r'href="(?:\.\./)?papers/(\w+)\.html"', page)


def section(page: str, anchor: str) -> str:
    """Return the text of a section."""
    return page.partition(f"{{ #{anchor} }}")[2].partition("\n## ")[0]


def test_successors_are_counted_directly_and_indirectly() -> None:
    made = citing_papers(
        {
            "a": paper(),
            "b": paper(relations={"builds-on": ["a"]}),
            "c": paper(relations={"extends": ["b"], "compares-with": ["a"]}),
            "d": paper(relations={"builds-on": ["a", "b", "d"], "compares-with": ["a"]}),
            "chance": baseline(relations={"builds-on": ["a"]}),
        }
    )
    assert made["a"].direct == {"b", "d"}
    assert made["a"].indirect == {"c"}
    assert made["a"].comparing == {"c", "d"}
    assert str(made["a"]) == (
        "2 papers build on it; 1 more build on those; 2 papers compare with it."
    )
    assert str(made["b"]) == "2 papers build on it."
    assert made["d"].successors == 0


def test_a_cycle_of_relations_ends() -> None:
    made = citing_papers(
        {
            "a": paper(relations={"builds-on": ["c"]}),
            "b": paper(relations={"builds-on": ["a"]}),
            "c": paper(relations={"builds-on": ["b"]}),
        }
    )
    assert (made["a"].direct, made["a"].indirect) == ({"b"}, {"c"})


def test_foundations_come_after_the_papers_they_build_on(atlas: Atlas) -> None:
    page = section(dict(reading_order.pages(atlas))["learn/reading-order.md"], "foundations")
    found = reading_order.foundations(atlas.papers)
    citing = citing_papers(atlas.papers)
    slugs = [slug for slug, _ in found]
    assert {"wanda", "sparsegpt", "obs"} <= set(slugs)
    assert set(slugs) == {
        slug for slug, one in citing.items() if one.successors >= reading_order.MIN_SUCCESSORS
    }
    for earlier, later in pairwise(slugs):
        assert earlier not in citing[later].direct | citing[later].indirect
    assert links(page) == slugs
    for _, one in found:
        assert str(one) in page


def test_every_survey_is_listed_newest_first(atlas: Atlas) -> None:
    found = links(section(dict(reading_order.pages(atlas))["learn/reading-order.md"], "surveys"))
    assert set(found) == {slug for slug, one in atlas.papers.items() if one.kind == "survey"}
    dates = [first_public(atlas.papers[slug]) for slug in found]
    assert dates == sorted(dates, reverse=True)


def test_methods_are_implemented_and_listed_once(atlas: Atlas) -> None:
    page = dict(reading_order.pages(atlas))["learn/reading-order.md"].partition("## Methods")[2]
    slugs = links(page)
    assert len(slugs) == len(set(slugs)) >= 20
    assert set(slugs) <= set(atlas.methods)
    template = (TEMPLATES / "reading-order.md").read_text(encoding="utf-8")
    assert slugs == re.findall(r'^    \("(\w+)", ".*\."\),$', template, re.MULTILINE)
    starts = [int(one) for one in re.findall(r'<ol class="atlas-reading" start="(\d+)">', page)]
    lengths = [len(links(part)) for part in page.split("<ol ")[1:]]
    assert starts == [1 + sum(lengths[:place]) for place in range(len(lengths))]


def test_renders_without_papers() -> None:
    page = dict(reading_order.pages(Atlas({}, {})))["learn/reading-order.md"]
    assert "atlas-reading" not in page


def test_a_sentence_ends_with_a_full_stop() -> None:
    assert sentence("Cuts 2.5 % of it. And more.") == "Cuts 2.5 % of it."
    assert sentence("All of it") == "All of it"
