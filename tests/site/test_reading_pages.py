"""Pages that order the papers: each count is that of the catalog, and nothing is left out."""

from __future__ import annotations

import html
import re
from collections import Counter
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from xml.etree import ElementTree

import pytest

from tests.catalog.invented import baseline
from tests.catalog.invented import paper as invented
from tools.catalog.schema.paper import Paper
from tools.catalog.schema.vocabulary import vocabulary
from tools.site import figures, firsts
from tools.site.atlas import Atlas
from tools.site.combinations import FIELDS, cells, gaps, tried
from tools.site.facts import first_public, words_of
from tools.site.following import followers
from tools.site.pages import catalog, make, taxonomy, timeline, topics, untried
from tools.site.pages import read as start
from tools.site.reading import ORDER
from tools.site.studied import looked_at
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
    page = dict(start.pages(atlas))["read.md"]
    steps = start.foundations(atlas.papers)
    counted = followers(atlas.papers)
    shown = [step.slug for step in steps]
    assert {"wanda", "sparsegpt", "obs"} <= set(shown)
    assert set(shown) == {slug for slug, one in counted.items() if one.count >= start.LEAST}
    for earlier, later in pairwise(steps):
        assert later.slug not in counted[later.slug].direct
        assert earlier.slug not in counted[later.slug].direct | counted[later.slug].through
    for step in steps:
        assert f'papers/{step.slug}.html">{atlas.names[step.slug]}</a>' in section(page, "ground")
        assert step.why in section(page, "ground")
    assert list(dict.fromkeys(links(section(page, "ground")))) == shown


def test_bars_are_as_long_as_their_counts(atlas: Atlas) -> None:
    page = dict(start.pages(atlas))["read.md"]
    steps = start.foundations(atlas.papers)
    most = max(step.followers.count for step in steps)
    number = r'="([\d.]+)"'
    bars = re.findall(rf'is-share" width{number}.*?is-through" x{number} width{number}', page)
    assert len(bars) == len(steps)
    for step, (direct, start_, through) in zip(steps, bars, strict=True):
        assert float(direct) == float(start_)
        assert float(direct) == pytest.approx(100 * len(step.followers.direct) / most, abs=0.06)
        assert float(through) == pytest.approx(100 * len(step.followers.through) / most, abs=0.06)


def test_every_survey_is_there_the_newest_first(atlas: Atlas) -> None:
    page = section(dict(start.pages(atlas))["read.md"], "surveys")
    found = links(page)
    kinds = {slug for slug, one in atlas.papers.items() if one.kind == "survey"}
    assert set(found) == kinds
    whens = [first_public(atlas.papers[slug]) for slug in found]
    assert whens == sorted(whens, reverse=True)
    assert f"A review of the field as of {month(atlas.papers[found[0]])}." in page


def test_the_order_by_hand_names_papers_of_the_catalog_once(atlas: Atlas) -> None:
    page = dict(start.pages(atlas))["read.md"]
    slugs = [slug for _, papers in ORDER for slug, _ in papers]
    assert len(slugs) == len(set(slugs)) >= 20
    assert set(slugs) <= set(atlas.methods)
    for _, papers in ORDER:
        for slug, why in papers:
            assert re.search(rf'<li><a href="papers/{slug}.html">.*{re.escape(why)}', page)
            assert why.endswith(".")
    starts = [int(one) for one in re.findall(r'<ol class="atlas-reading" start="(\d+)">', page)]
    assert starts[0] == 1
    assert starts[-1] + len(ORDER[-1][1]) - 1 == len(slugs)


def test_without_papers_the_pages_still_stand() -> None:
    made = make(Atlas({}, {}))
    assert start.reading(Atlas({}, {})) == []
    assert "atlas-steps" not in made["read.md"]
    assert "No entry of the catalog has a date yet" in made["timeline.md"]
    assert "0 are in this catalog" in made["untried.md"]
    assert "No work in this catalog yet" in made["topics/safety.md"]


@pytest.mark.parametrize(
    ("date", "said"), [("2024-03-15", "March 2024"), ("2024-03", "March 2024"), ("2024", "2024")]
)
def test_dates_are_said_as_far_as_they_are_known(date: str, said: str) -> None:
    assert month(paper(date)) == said


def test_a_sentence_ends_with_its_stop() -> None:
    assert sentence("Cuts 2.5 % of it. And more.") == "Cuts 2.5 % of it."
    assert sentence("All of it") == "All of it"


# Timeline


def test_every_paper_stands_once_under_its_first_year_in_order(atlas: Atlas) -> None:
    page = dict(timeline.pages(atlas))["timeline.md"]
    shown = []
    for year, part in re.findall(r'<h2 id="year-(\d+)">(.*?)</section>', page, re.DOTALL):
        listed = links(part.partition('<ol class="atlas-days">')[2])
        assert {first_public(atlas.papers[slug])[0] for slug in listed} == {int(year)}
        assert f">{len(listed)} paper" in part
        shown += listed
    assert sorted(shown) == sorted(slug for slug, one in atlas.papers.items() if one.has_paper)
    whens = [first_public(atlas.papers[slug]) for slug in shown]
    assert whens == sorted(whens)


def test_the_year_is_that_of_the_first_version_and_not_of_the_venue() -> None:
    late = paper("2023-12-30", venue="icml", published="2024-07")
    (year,) = timeline.years({"a": late.model_copy(update={"year": 2024})}, [])
    assert (year.year, timeline.day(late)) == (2023, "12-30")


def test_a_word_is_new_in_the_first_year_of_a_paper_that_has_it() -> None:
    papers = {
        "late": paper("2024-02-01", taxonomy={"criterion": ["routing", "gradient"]}),
        "early": paper("2023-05-01"),
        "first": paper("2023-02-01"),
        "unclear": paper("2022-02-01", taxonomy={"criterion": ["unknown"]}),
        # How it is used today says nothing of what it was.
        "floor": paper("1990-02-01", kind="baseline", taxonomy={"criterion": ["magnitude"]}),
    }
    found = {(line.field, line.term.word): line for line in firsts.lines(papers)}
    assert set(found) == {
        ("granularity", "structured"),
        ("criterion", "gradient"),
        ("criterion", "routing"),
    }
    gradient = found["criterion", "gradient"]
    assert (gradient.first, gradient.slugs) == (2023, ("first", "early"))
    assert gradient.counts == {2023: 2, 2024: 1}
    new = {one.year: [line.term.word for line in one.new] for one in
           timeline.years(papers, firsts.lines(papers))}  # fmt: skip
    assert new == {1990: [], 2022: ["structured"], 2023: ["gradient"], 2024: ["routing"]}
    page = dict(timeline.pages(Atlas(papers, {})))["timeline.md"]
    part = page.partition('id="year-2024"')[2]
    assert 'href="taxonomy/criterion-routing.html">routing</a>' in part
    assert 'href="papers/late.html">late</a>' in part


@pytest.mark.parametrize("width", [figures.WIDE, figures.NARROW])
def test_a_dot_has_the_area_of_its_count(atlas: Atlas, width: figures.Width) -> None:
    lines = firsts.lines(atlas.papers)
    drawing = ElementTree.fromstring(str(firsts.drawn(lines, width)))
    dots = drawing.findall("circle")
    assert len(dots) == sum(len(line.counts) for line in lines)
    assert sum(dot.attrib["class"] == "is-new-word" for dot in dots) == len(lines)
    said = {dot.findtext("title"): dot for dot in dots}
    for line in lines:
        for year, count in line.counts.items():
            title = f"{line.term.label}, {year}: {count} {'paper' if count == 1 else 'papers'}"
            assert title in said
    by_count = {
        int(re.search(r": (\d+)", title)[1]): float(dot.attrib["r"])  # type: ignore[index, arg-type]
        for title, dot in said.items()
    }
    large = {count: r for count, r in by_count.items() if r > 2.2}
    assert len(large) > 5
    scale = [r * r / count for count, r in large.items()]
    assert max(scale) == pytest.approx(min(scale), rel=0.1)
    for dot in dots:
        x, r = float(dot.attrib["cx"]), float(dot.attrib["r"])
        assert 0 < x - r < x + r <= width.pixels + 0.5


# Topics


def test_a_topic_has_a_page_with_its_works_and_what_they_look_at(atlas: Atlas) -> None:
    made = dict(topics.pages(atlas)) | dict(taxonomy.pages(atlas))
    for word, term in vocabulary()["topic"].terms.items():
        works = [slug for slug, one in atlas.papers.items() if word in words_of(one, "topic")]
        page = made[f"topics/{word}.md"]
        assert html.escape(term.definition, quote=False) in html.unescape(page)
        items = re.findall(r"<li><div>(.*?)</div></li>", page, re.DOTALL)
        assert sorted(links(item)[0] for item in items) == sorted(works)
        for item in items:
            slug, *others = links(item)
            one = atlas.papers[slug]
            assert sentence(one.summary) in html.unescape(item)
            assert set(others) == {o for _, o in one.relations if isinstance(o, str)}
        entry = re.search(rf'href="topics/{word}.html"><strong>.*?(\d+)</span>', made["topics.md"])
        assert entry
        assert int(entry[1]) == len(works)


def test_a_topic_that_nobody_has_says_so() -> None:
    made = dict(topics.pages(Atlas({"a": paper()}, {})))
    assert list(made) == ["topics.md"]
    assert made["topics.md"].count("No work in this catalog yet") == len(
        vocabulary()["topic"].terms
    )


def test_studies_without_a_topic_are_on_the_overview(atlas: Atlas) -> None:
    page = section(dict(topics.pages(atlas))["topics.md"], "others")
    assert set(links(page)) == {
        slug
        for slug, one in atlas.papers.items()
        if one.kind in ("analysis", "benchmark", "theory") and not words_of(one, "topic")
    }


def test_what_is_looked_at_is_counted_by_work() -> None:
    works = {
        "one": paper(relations={"builds-on": ["a"], "compares-with": ["a", "b"]}),
        "two": paper(relations={"compares-with": ["a", {"title": "Elsewhere", "year": 1990}]}),
        "a": paper(),
        "b": paper(),
    }
    assert looked_at(["one", "two"], works) == (("a", ("one", "two")), ("b", ("one",)))


# Not tried


def test_combinations_are_counted_without_what_is_unknown(atlas: Atlas) -> None:
    counted = tried(atlas.papers.values())
    every = list(cells())
    assert len(every) == len(set(every))
    assert not {word for cell in every for word in cell} & {"unknown"}
    for cell in every:
        having = [
            one
            for one in atlas.papers.values()
            if all(word in words_of(one, field) for field, word in zip(FIELDS, cell, strict=True))
        ]
        assert counted[cell] == len(having)
    assert set(counted) <= set(every)


def test_a_number_leads_to_as_many_papers_of_the_catalog(atlas: Atlas) -> None:
    page = dict(untried.pages(atlas))["untried.md"]
    table = dict(catalog.pages(atlas))["catalog.md"]
    boxes = re.findall(r'<input type="checkbox" name="([^"]*)" value="([^"]*)"[^>]*>', table)
    rows = [
        {boxes[int(one, 16)] for one in has.split()}
        for has in re.findall(r'<tr data-has="([^"]*)"', table)
    ]
    found = re.findall(r'<a href="(catalog\.html\?[^"]*)">(\d+)</a>', page)
    assert len(found) > 100
    for link, count in found:
        wanted = set(parse_qsl(urlsplit(html.unescape(link)).query))
        assert len(wanted) >= 2
        assert sum(wanted <= row for row in rows) == int(count), link


def test_empty_cells_are_cells_too(atlas: Atlas) -> None:
    page = dict(untried.pages(atlas))["untried.md"]
    counted, every = tried(atlas.papers.values()), list(cells())
    empty = page.count('<td><span class="atlas-hidden">none</span></td>')
    assert empty == len(every) - len(counted)
    assert len(re.findall(r'<td class="is-tried-\d"><a', page)) == len(counted)
    assert f"of {len(every)} combinations of three words, {len(counted)} are" in page
    assert "unknown" not in page
    assert page.count("<table") == len(vocabulary()["granularity"].terms) - 1


def test_the_widest_gaps_are_empty_and_their_pairs_are_not() -> None:
    def cut(criterion: str, recovery: str, *granularity: str) -> Paper:
        words = {"criterion": [criterion], "recovery": recovery, "granularity": granularity}
        return paper(taxonomy=words)

    papers = [
        cut("gradient", "none", "structured"),
        cut("gradient", "low-rank", "unstructured"),
        cut("magnitude", "low-rank", "structured"),
        cut("magnitude", "none", "activation"),
    ]
    found = {gap.cell: gap.pairs for gap in gaps(papers)}
    # Structured by gradient, structured with low-rank, and gradient with low-rank all exist.
    assert found == {
        ("structured", "gradient", "low-rank"): (1, 1, 1),
        ("structured", "magnitude", "none"): (1, 1, 1),
    }
    papers += [cut("gradient", "none", "structured"), cut("gradient", "low-rank", "unstructured")]
    assert [gap.pairs for gap in gaps(papers, 1)] == [(2, 1, 2)]
    assert not Counter(gap.cell for gap in gaps(papers)).keys() & tried(papers).keys()


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
    for path in ("news.md", "contribute.md"):
        assert f'<a href="{form}">Add a paper</a>' in made[path]
    assert '<a href="contribute.html">Add a paper</a>' in make(Atlas({}, {}))["news.md"]
