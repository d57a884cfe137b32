"""What the search looks in: all that a paper is known by, texts of pages, no code, no drawings."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tools.catalog.schema.vocabulary import vocabulary
from tools.site.atlas import Atlas
from tools.site.facts import words_of
from tools.site.pages import search
from tools.site.sections import front, sections

KB = 1000


@pytest.fixture(scope="module")
def atlas(real: Atlas) -> Atlas:
    return real


@pytest.fixture(scope="module")
def papers(atlas: Atlas) -> dict[str, dict[str, Any]]:
    """By slug, with the words written out."""
    found, texts = json.loads(search.papers(atlas)), json.loads(search.texts(atlas))
    return {
        paper["slug"]: texts[paper["slug"]]
        | paper
        | {"words": [found["words"][place] for place in paper["words"]]}
        for paper in found["papers"]
    }


@pytest.fixture(scope="module")
def pages(site: Path) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads((site / "search" / "pages.json").read_text())["pages"]
    return found


def test_a_paper_is_known_by_all_that_people_ask_for(
    atlas: Atlas, papers: dict[str, dict[str, Any]]
) -> None:
    assert sorted(papers) == sorted(atlas.papers)
    flap, wanda = papers["flap"], papers["wanda"]
    assert flap["name"] == "FLAP"
    assert "Jinqiao Wang" in flap["authors"].split(", ")  # the last of five
    assert wanda["venue"] == "ICLR 2024"
    assert "2306.11695" in wanda["ids"].split()
    assert "PxoFut3dWW" in wanda["ids"].split()
    labels = {label for label, _ in wanda["words"]}
    assert {"semi-structured", "forward", "static", "method", "LLaMA-2", "ICLR"} <= labels
    synonyms = dict(wanda["words"])
    assert "2:4" in synonyms["semi-structured"].split(", ")
    assert "one-shot" in synonyms["static"].split(", ")
    assert "International Conference on Learning Representations" in synonyms["ICLR"]


def test_words_of_the_vocabulary_are_those_of_the_papers(
    atlas: Atlas, papers: dict[str, dict[str, Any]]
) -> None:
    for field, word in (("granularity", "semi-structured"), ("combines", "quantization")):
        term = vocabulary()[field].terms[word]
        said = {slug for slug, one in atlas.papers.items() if word in words_of(one, field)}
        pair = [term.label, ", ".join(term.synonyms)]
        assert said == {slug for slug, one in papers.items() if pair in one["words"]}
        assert len(said) > 5


def test_what_nobody_knows_is_nothing_to_find(papers: dict[str, dict[str, Any]]) -> None:
    labels = {label for paper in papers.values() for label, _ in paper["words"]}
    assert not labels & {"unknown", "abstract"}


def test_passages_have_an_address_that_is_there(site: Path, pages: list[dict[str, str]]) -> None:
    assert len(pages) > 150
    texts = {path: (site / path).read_text() for path in {page["path"] for page in pages}}
    missing = [
        page
        for page in pages
        if "anchor" in page and f'id="{page["anchor"]}"' not in texts[page["path"]]
    ]
    assert missing == []
    whole = {page["path"]: page for page in pages if "anchor" not in page}
    assert whole["leaderboard.html"]["title"] == "Leaderboard"
    assert "papers/wanda.html" not in whole  # a paper is found as a paper
    assert not {"catalog.html", "records/wanda.html"} & set(texts)  # a list of what is found anyway


def test_what_explains_a_method_is_found(pages: list[dict[str, str]]) -> None:
    said = {page["anchor"]: page for page in pages if page["path"] == "papers/sparsegpt.html"}
    assert "differences-from-the-paper" in said
    assert any("cholesky" in page.get("text", "").split() for page in pages)
    assert all(page["start"] for page in pages)


def test_code_and_drawings_are_nothing_to_find(pages: list[dict[str, str]]) -> None:
    home = [page for page in pages if page["path"] == "index.html"]
    assert home
    # The chart of the home page says 2:4 beside its marks.
    assert not any("2:4" in f"{page['start']} {page.get('text', '')}" for page in home)
    assert "in-the-code" not in {page.get("anchor") for page in pages}
    everything = " ".join(f"{page['start']} {page.get('text', '')}" for page in pages)
    assert "self.sparsity" not in everything
    assert "\\(" not in everything


def test_sections_of_markdown_and_of_html() -> None:
    said, body = front(
        '---\ntitle: "A"\nsearch: {"exclude": false}\n---\n\n'
        "<h1>Title<a class='headerlink' href='#t'>&para;</a></h1>\n\nAbove `a < b` &amp; $x<y$.\n\n"
        "## Named *well* { #name .x }\n\nSee [the **other**](x.md#y).\n\n```bash\n# no\nrun\n"
        "```\n\n### By its words\n\n<svg><text>drawn<g></g></text></svg>- one\n- two\n"
        "## Left out { data-search-exclude }\n\ngone\n\n<h3 id='html'>In <code>HTML</code></h3>"
        "<div data-search-exclude><div>a</div>b</div><p>c</p><pre>code</pre><p>d</p>"
    )
    assert said == {"title": "A", "search": {"exclude": False}}
    assert [(one.heading, one.anchor, one.text) for one in sections(body)] == [
        ("Title", "", "Above a < b & ."),
        ("Named *well*", "name", "See the other ."),
        ("By its words", "by-its-words", "one two"),
        ("In HTML", "html", "c d"),
    ]


def test_the_program_comes_whole_and_with_its_licence() -> None:
    module = search.program()
    assert module.startswith("/*! MiniSearch 7")
    assert "Permission is hereby granted, free of charge" in module
    assert re.search(r"export\{\w+ as default\};?\s*$", module)


def test_it_stays_small(site: Path, atlas: Atlas) -> None:
    def weight(name: str) -> int:
        return len(gzip.compress((site / name).read_bytes(), 6))

    assert weight(search.PAPERS) < 60 * len(atlas.papers)  # 500 papers would be 30 kB
    assert weight(search.TEXTS) < 270 * len(atlas.papers)  # and 135 kB
    assert weight(search.PAGES) < 90 * KB
    assert weight(search.PROGRAM) < 10 * KB
