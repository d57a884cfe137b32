"""The catalog page: one row per paper, correct counts, small with a thousand entries."""

from __future__ import annotations

import gzip
import html
import re
from collections import Counter
from statistics import fmean

import pytest

from implementations.harness.results.record import Record
from tests.catalog.invented import paper as invented
from tools.catalog.exports.bibtex import keys
from tools.catalog.schema.addresses import best_code
from tools.catalog.schema.paper import Code, Paper
from tools.catalog.schema.vocabulary import vocabulary
from tools.site.atlas import Atlas
from tools.site.formatting import number
from tools.site.licences import licence_group
from tools.site.model_families import family
from tools.site.pages import catalog, make
from tools.site.pages import paper as paper_pages
from tools.site.paper_facts import code, words_of


@pytest.fixture(scope="module")
def page(atlas: Atlas) -> str:
    return dict(catalog.pages(atlas))["catalog.md"]


def choices(page: str) -> list[tuple[str, str, int]]:
    """Return facet, value and count of each check box, in order."""
    found = re.findall(
        r'<input type="checkbox" name="([^"]*)" value="([^"]*)"[^>]*>.*?'
        r'<span class="atlas-count">(\d+)</span>',
        page,
    )
    return [(name, html.unescape(value), int(count)) for name, value, count in found]


def rows(page: str) -> dict[str, tuple[list[int], str]]:
    """Return by slug the numbers of a row's choices, and its text."""
    found = re.findall(
        r'<tr data-has="([^"]*)"[^>]*><th scope="row"><a href="papers/(\w+)\.html">(.*?)</tr>', page
    )
    return {
        slug: ([int(one, 16) for one in has.split()], html.unescape(re.sub(r"<[^>]*>", "|", text)))
        for has, slug, text in found
    }


def test_papers_have_one_row_each_newest_first(page: str, atlas: Atlas) -> None:
    shown = list(rows(page))
    assert sorted(shown) == sorted(atlas.papers)
    years = [atlas.papers[slug].year or 0 for slug in shown]  # papers without a year come last
    assert years == sorted(years, reverse=True)
    for slug, (_, text) in rows(page).items():
        paper = atlas.papers[slug]
        for part in (atlas.names[slug], paper.title, paper.summary, *(paper.authors or ())):
            assert part in text


def test_numbers_of_a_row_identify_its_choices(page: str, atlas: Atlas) -> None:
    boxes = [(name, value) for name, value, _ in choices(page)]
    for slug, (has, _) in rows(page).items():
        paper, named = atlas.papers[slug], {boxes[one] for one in has}
        granularity = paper.taxonomy.granularity if paper.taxonomy else ()
        assert {value for name, value in named if name == "granularity"} == set(granularity)
        assert {value for name, value in named if name == "year"} == (
            {str(paper.year)} if paper.year else set()
        )
        assert {value for name, value in named if name == "models"} == set(paper.models or ())
        families = Counter(
            family(model) for model in {m for p in atlas.papers.values() for m in p.models or ()}
        )
        assert {value for name, value in named if name == "family"} == {
            family(model) for model in paper.models or () if families[family(model)] > 1
        }
        best = best_code(paper)
        assert {value for name, value in named if name == "licence"} == (
            {licence_group(best)} - {None} if best else set()
        )
        assert (("code", "ours") in named) == (slug in atlas.methods)
        assert (("works", "mistral") in named) <= (slug in atlas.methods)


def test_rows_have_the_bibtex_key_of_their_entry(page: str, atlas: Atlas) -> None:
    found = re.findall(r'<tr [^>]*data-key="([^"]*)"><th scope="row"><a href="papers/(\w+)\.', page)
    assert {slug: key for key, slug in found} == keys(atlas.papers)


def test_retraining_is_derived_from_recovery_and_calibration(page: str, atlas: Atlas) -> None:
    boxes = [(name, value) for name, value, _ in choices(page)]
    named = {slug: {boxes[one] for one in has} for slug, (has, _) in rows(page).items()}
    spared = {slug for slug, said in named.items() if ("retraining", "no") in said}
    trained = {slug for slug, said in named.items() if ("retraining", "yes") in said}
    about = {slug: one.taxonomy for slug, one in atlas.papers.items() if one.taxonomy}
    assert spared == {
        slug
        for slug, one in about.items()
        if one.recovery in ("none", "closed-form", "layerwise-solver")
        and one.calibration not in (None, "unknown", "training")
    }
    assert {"wanda", "sparsegpt", "flap"} <= spared
    assert {"llmpruner", "maskllm"} <= trained
    assert not spared & trained


def test_counts_match_the_rows(page: str) -> None:
    counted = Counter(one for has, _ in rows(page).values() for one in has)
    listed = [count for _, _, count in choices(page)]
    assert [counted[place] for place in range(len(listed))] == listed
    assert min(listed) > 0


def test_ratios_to_dense_match_the_records(page: str, records: list[Record]) -> None:
    metric = records[0].protocol.metrics[0]
    for slug, share in (("flap", 0.2), ("wanda", 0.5), ("magnitude", 0.5)):
        ratios = [
            record.values[metric] / record.dense.values[metric]
            for record in records
            if record.method == slug and record.requested == share and not record.pattern
        ]
        cells = rows(page)[slug][1].split("|")
        assert number(fmean(ratios)) in cells


def test_measured_ratios_are_in_the_right_range(page: str) -> None:
    boxes = [(name, value) for name, value, _ in choices(page)]
    named = {slug: {boxes[one] for one in has} for slug, (has, _) in rows(page).items()}
    assert ("loss-20", "2") in named["flap"]  # 1.82 times dense
    assert ("loss-50", "50") in named["flap"]  # 7.7
    assert ("loss-20", "5") in named["shortgpt"]  # 4.9
    assert ("loss-50", "not measured") in named["shortgpt"]


def test_the_page_is_light_enough_for_five_hundred_papers(page: str, atlas: Atlas) -> None:
    # Theme, styles and scripts take a third of the 350 kB.
    assert 500 * len(gzip.compress(page.encode(), 6)) / len(atlas.papers) < 230_000


def test_without_records_no_ratios_are_shown(atlas: Atlas) -> None:
    ((_, text),) = catalog.pages(Atlas(atlas.papers, atlas.methods))
    assert "loss-20" not in {name for name, _, _ in choices(text)}
    assert "Loss: perplexity" not in text


def test_repositories_without_code_are_no_official_code(page: str, atlas: Atlas) -> None:
    boxes = [(name, value) for name, value, _ in choices(page)]
    named = {slug: {boxes[one] for one in has} for slug, (has, _) in rows(page).items()}
    empty = {
        slug
        for slug, paper in atlas.papers.items()
        if paper.code and all(code.no_code for code in paper.code)
    }
    assert {"dpruner", "lte", "ziplm", "prunellm"} <= empty
    codes = [code for paper in atlas.papers.values() for code in paper.code or ()]
    hidden = {code.url for code in codes if code.no_code}
    hidden -= {code.url for code in codes if not code.no_code}  # another paper's code is there
    for slug in empty:
        assert ("code", "none known") in named[slug]
        assert not {name for name, _ in named[slug]} & {"licence"}
    assert not [url for url in hidden if url in page]


def paper(**more: object) -> Paper:
    return Paper.model_construct(**more)


def test_available_official_code_comes_first() -> None:
    theirs = Code(url="https://example.org/theirs", official=True)
    others = Code(url="https://example.org/others", official=False)
    gone = Code(url="https://example.org/gone", official=True, withdrawn=True)
    empty = Code(url="https://example.org/empty", official=True, no_code=True)
    assert code(paper(code=None)) == "none known"
    assert code(paper(code=(gone,))) == "none known"
    assert code(paper(code=(others, theirs))) == "official"
    assert code(paper(code=(gone, others))) == "third party"
    assert code(paper(code=(empty,))) == "none known"
    assert code(paper(code=(empty, others))) == "third party"
    assert best_code(paper(code=(others, theirs))) == theirs


def test_architecture_topic_and_depth_of_reading_are_facets(page: str, atlas: Atlas) -> None:
    counted = {(name, value): count for name, value, count in choices(page)}
    for name, of in (
        ("architecture", lambda one: one.taxonomy.architecture if one.taxonomy else ()),
        ("topic", lambda one: one.taxonomy.topic if one.taxonomy else ()),
        ("read", lambda one: (one.sources.read,)),
    ):
        wanted = Counter(word for one in atlas.papers.values() for word in of(one) or () if word)
        assert len(wanted) > 3
        assert {value: n for (facet, value), n in counted.items() if facet == name} == wanted


def test_unknown_values_are_counted_and_shown(
    page: str, atlas: Atlas, sample_pages: dict[str, str]
) -> None:
    slugs = [s for s, one in atlas.papers.items() if "unknown" in words_of(one, "criterion")]
    assert slugs
    assert ("criterion", "unknown", len(slugs)) in choices(page)
    shown = sample_pages[f"papers/{slugs[0]}.md"]
    definition = vocabulary()["criterion"].terms["unknown"].definition
    link = '<a class="atlas-word" href="../learn/glossary.html'
    word = f'{link}#criterion-unknown" data-definition="{definition}">unknown</a>'
    assert f"<dt>Criterion</dt><dd>{word}" in shown
    assert f"<dt>Depth of reading</dt><dd>{link}#read-" in shown


def test_unknown_values_do_not_make_papers_similar() -> None:
    def cut(read: str, **words: object) -> Paper:
        taxonomy = {"granularity": ["structured"], "criterion": ["unknown"], **words}
        sources = {"checked": "2026-11-25", "read": read, "from": ["paper text"]}
        return invented(taxonomy=taxonomy | {"calibration": "unknown"}, sources=sources)

    made = {
        "a": cut("paper", prunes=["heads"]),
        "b": cut("paper", prunes=["blocks"]),  # 1 word in common of 3
        "c": cut("abstract", prunes=["heads"]),
    }
    assert paper_pages.RelatedPapers(Atlas(made, {})).similar("a") == ["c"]


def test_only_papers_of_the_same_kind_are_similar() -> None:
    words = {"granularity": ["structured"], "criterion": ["gradient"], "calibration": "forward"}
    kinds = {"a": "method", "b": "baseline", "c": "analysis", "d": "analysis", "e": "system"}
    made = {slug: invented(kind=kind, taxonomy=words) for slug, kind in kinds.items()}
    related = paper_pages.RelatedPapers(Atlas(made, {}))
    assert [related.similar(slug) for slug in kinds] == [["b"], ["a"], ["d"], ["c"], []]


def test_every_kind_is_listed_without_a_taxonomy() -> None:
    kinds = [kind for kind in vocabulary()["kind"].terms if kind not in ("method", "baseline")]
    near = {"compares-with": ["a0"]}
    works = {f"a{i}": invented(kind=kind, relations=near) for i, kind in enumerate(kinds)}
    made = make(Atlas(works, {}))
    assert sorted(rows(made["catalog.md"])) == sorted(f"a{i}" for i in range(len(kinds)))
    assert "leaderboard.html?compare=" not in made["catalog.md"]
    assert "<strong>0</strong>" in made["choose.md"].replace(' id="atlas-fit"', "")
    for i, kind in enumerate(kinds):
        assert f'<span class="atlas-tag">{kind}</span>' in made[f"papers/a{i}.md"]
        name = f"Lovelace 2024{'abcdefghij'[i]}"
        assert f'papers/a{i}.html">{name}</a><i>{kind}</i></th>' in made["catalog.md"]
        assert f"papers/a{i}.html" in made["llms.txt"]


def test_home_links_to_the_form_to_add_a_paper() -> None:
    form = "https://example.org/atlas/issues/new?template=add_paper.yml"
    made = make(Atlas({}, {}, repository="https://example.org/atlas"))
    for path in ("catalog.md", "contribute.md"):
        assert f'<a href="{form}">Add a paper</a>' in made[path]
    assert '<a href="contribute.html">Add a paper</a>' in make(Atlas({}, {}))["catalog.md"]
