"""By taxonomy: every word is defined once, and its page says who has it and how they do."""

from __future__ import annotations

import html
import re
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from tests.catalog.invented import paper
from tools.catalog.schema.vocabulary import vocabulary
from tools.site.atlas import Atlas, read
from tools.site.facts import first_board, words_of
from tools.site.glossary import LABELS, glossary
from tools.site.pages import catalog, taxonomy
from tools.site.standing import standing


@pytest.fixture(scope="module")
def made(atlas: Atlas) -> dict[str, str]:
    return dict(taxonomy.pages(atlas))


@pytest.fixture(scope="module")
def page(made: dict[str, str]) -> str:
    return made["taxonomy.md"]


def test_every_word_of_the_vocabulary_is_defined_once(page: str) -> None:
    for field, words in vocabulary().items():
        for word, term in words.terms.items():
            assert page.count(f'id="{field}-{word}"') == 1
            body = page.partition(f'id="{field}-{word}"')[2].partition("</div>")[0]
            assert re.sub("&[#a-z0-9]+;", "?", term.definition[:12]) in body
            for synonym in term.synonyms:
                assert synonym in body


def test_counts_are_the_papers_and_lead_to_the_catalog(page: str, atlas: Atlas) -> None:
    similar = [
        slug
        for slug, paper in atlas.papers.items()
        if paper.taxonomy and "similarity" in paper.taxonomy.criterion
    ]
    assert similar
    link = (
        f'href="catalog.html?criterion=similarity" aria-label="{len(similar)} papers: similarity"'
    )
    assert link in page
    entries = {entry.anchor: entry for many in glossary(atlas.papers).values() for entry in many}
    assert entries["criterion-similarity"].slugs == tuple(similar)
    assert len(entries["venues-icml"].slugs) == sum(
        p.venue == "icml" for p in atlas.papers.values()
    )
    assert entries["venues-icml"].address == "catalog.html?venue=icml"
    assert entries["status-preprint"].address == ""


def test_every_count_that_leads_to_the_catalog_is_what_it_shows(atlas: Atlas) -> None:
    table = dict(catalog.pages(atlas))["catalog.md"]
    box = r'name="([^"]*)" value="([^"]*)"[^>]*>.*?<span class="atlas-count">(\d+)<'
    shown = {(name, value): int(count) for name, value, count in re.findall(box, table)}
    entries = [entry for many in glossary(atlas.papers).values() for entry in many if entry.address]
    assert {"read", "topic", "architecture"} <= {entry.field for entry in entries}
    for entry in entries:
        ((name, value),) = parse_qsl(urlsplit(entry.address).query)
        assert shown[name, value] == len(entry.slugs), entry.anchor


def test_every_word_by_which_papers_are_sorted_has_a_page(
    made: dict[str, str], atlas: Atlas, page: str
) -> None:
    entries = [entry for many in glossary(atlas.papers).values() for entry in many]
    paged = {entry.source: entry for entry in entries if entry.field in LABELS}
    assert set(made) == {"taxonomy.md", *paged}
    for source, entry in paged.items():
        text = html.unescape(made[source])
        assert f'<a href="{entry.page}">' in page
        assert entry.term.definition in text
        listed = re.findall(r'<li><div><a href="../papers/(\w+).html">', text)
        assert sorted(listed) == sorted(entry.slugs)
        assert ("No work in this catalog yet" in text) is not bool(listed)
        if entry.address:
            assert f'href="../{entry.address}"' in text


def test_a_page_names_the_other_words_of_a_paper_in_its_field(
    made: dict[str, str], atlas: Atlas
) -> None:
    text = made["taxonomy/prunes-heads.md"]
    (item,) = (one for one in text.split("<li><div>")[1:] if 'papers/flap.html">' in one)
    others = [word for word in words_of(atlas.papers["flap"], "prunes") if word != "heads"]
    assert re.findall(r'href="../taxonomy/prunes-([\w-]+).html"', item) == others == ["channels"]


def test_methods_stand_by_what_they_lost_among_their_kind(
    made: dict[str, str], atlas: Atlas
) -> None:
    found = standing(["wanda", "magnitude", "flap", "owl"], first_board(atlas))
    assert found.settings == ("10 %", "20 %", "30 %", "50 %", "70 %", "2:4", "4:8")
    # At 50 % there are three that remove single weights, and FLAP removes something else.
    places = {slug: found.methods[slug].get("50 %") for slug in found.methods}
    assert {slug: place and (place.rank, place.of) for slug, place in places.items()} == {
        "flap": (1, 1),
        "wanda": (2, 3),
        "magnitude": (3, 3),
        "owl": None,
    }
    assert list(found.methods)[-1] == "owl"
    assert places["wanda"].loss == pytest.approx(1.97)
    table = made["taxonomy/criterion-weight-activation.md"].partition("{ #standing")[2]
    (row,) = re.findall(r'<tr><th scope="row"><a href="../papers/wanda.html">.*?</tr>', table)
    assert 'data-label="50 %">1.97 <span class="spread">2 of 3</span>' in row
    collapsed = made["taxonomy/criterion-magnitude.md"].partition("{ #standing")[2]
    assert '412.0 <span class="spread">collapsed</span>' in collapsed


def test_without_measurements_methods_are_named(repository: Path) -> None:
    here = read(repository)
    text = dict(taxonomy.pages(Atlas(here.papers, here.methods)))["taxonomy/criterion-magnitude.md"]
    assert 'papers/magnitude.html">Magnitude</a></th></tr>' in text


def test_many_papers_are_listed_by_title(monkeypatch: pytest.MonkeyPatch) -> None:
    papers = {"a": paper(), "b": paper(title="Another Pruner")}
    assert "Prunes one thing" in dict(taxonomy.pages(Atlas(papers, {})))["taxonomy/kind-method.md"]
    monkeypatch.setattr(taxonomy, "MANY", 1)
    text = dict(taxonomy.pages(Atlas(papers, {})))["taxonomy/kind-method.md"]
    assert "Prunes one thing" not in text
    assert "Another Pruner" in text


def test_a_page_of_a_word_leads_back(made: dict[str, str]) -> None:
    page = made["taxonomy/criterion-magnitude.md"]
    assert 'trail: [["By taxonomy", "taxonomy.md"], ["Magnitude", ""]]' in page
    assert 'trail: [["Topics", "topics.md"], ["Safety", ""]]' in made["topics/safety.md"]
