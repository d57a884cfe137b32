"""The glossary: every word is defined once, and its number of papers matches the catalog."""

from __future__ import annotations

import html
import re
from urllib.parse import parse_qsl, urlsplit

import pytest

from tools.catalog.schema.vocabulary import vocabulary
from tools.site.atlas import Atlas
from tools.site.glossary import LABELS
from tools.site.glossary import glossary as entries_by_field
from tools.site.pages import catalog, glossary


@pytest.fixture(scope="module")
def page(atlas: Atlas) -> str:
    return dict(glossary.pages(atlas))["learn/glossary.md"]


def test_every_word_of_the_catalog_is_defined_once(page: str) -> None:
    for field in LABELS:
        for word, term in vocabulary()[field].terms.items():
            assert page.count(f'id="{field}-{word}"') == 1
            body = html.unescape(page.partition(f'id="{field}-{word}"')[2].partition("</div>")[0])
            assert term.definition in body
            for synonym in term.synonyms:
                assert synonym in body


def test_a_word_links_to_its_papers(page: str, atlas: Atlas) -> None:
    similar = [
        slug
        for slug, paper in atlas.papers.items()
        if paper.taxonomy and "similarity" in paper.taxonomy.criterion
    ]
    assert similar
    link = f'criterion=similarity" aria-label="{len(similar)} papers: similarity"'
    assert f'href="../catalog.html?{link}' in page
    entries = {
        entry.anchor: entry for many in entries_by_field(atlas.papers).values() for entry in many
    }
    assert entries["criterion-similarity"].slugs == tuple(similar)


def test_numbers_match_the_catalog(atlas: Atlas) -> None:
    table = dict(catalog.pages(atlas))["catalog.md"]
    box = r'name="([^"]*)" value="([^"]*)"[^>]*>.*?<span class="atlas-count">(\d+)<'
    shown = {(name, value): int(count) for name, value, count in re.findall(box, table)}
    entries = [
        entry for many in entries_by_field(atlas.papers).values() for entry in many if entry.catalog
    ]
    assert {entry.field for entry in entries} == set(LABELS)
    for entry in entries:
        ((name, value),) = parse_qsl(urlsplit(entry.catalog).query)
        assert shown[name, value] == len(entry.slugs), entry.anchor


def test_a_word_without_papers_has_no_link() -> None:
    page = dict(glossary.pages(Atlas({}, {})))["learn/glossary.md"]
    assert "catalog.html" not in page
