"""Short names of papers: readable and different."""

from __future__ import annotations

import pytest

from tests.catalog.invented import baseline, paper
from tools.site.atlas import Atlas
from tools.site.paper_names import short_names


@pytest.mark.parametrize(
    ("authors", "name"),
    [
        (["Ada Lovelace"], "Lovelace 2024"),
        (["Ada Lovelace", "Mary Somerville"], "Lovelace and Somerville 2024"),
        (["Ada Lovelace", "Mary Somerville", "Charles Babbage"], "Lovelace et al. 2024"),
    ],
)
@pytest.mark.parametrize("kind", ["method", "analysis"])
def test_a_paper_without_a_method_name_has_authors_and_year(
    authors: list[str], name: str, kind: str
) -> None:
    assert short_names({"a": paper(authors=authors, kind=kind)}) == {"a": name}


def test_equal_names_get_the_year_then_the_author_then_a_letter() -> None:
    same = {"name": "ATP", "year": 2025}
    made = {
        "first": paper(name="ATP"),
        "second": paper(name="atp", year=2023),
        "third": paper(**same),
        "fourth": paper(**same, authors=["Mary Somerville"]),
        "seventh": paper(**same, authors=["Mary Somerville"]),
        "other": paper(name="Wanda"),
        "chance": baseline(),
        "fifth": paper(year=2022),
        "sixth": paper(year=2022),
    }
    assert short_names(made) == {
        "first": "ATP (2024)",
        "second": "atp (2023)",
        "third": "ATP (Lovelace 2025)",
        "fourth": "ATP (Somerville 2025a)",
        "seventh": "ATP (Somerville 2025b)",
        "other": "Wanda",
        "chance": "Chance",
        "fifth": "Lovelace 2022a",
        "sixth": "Lovelace 2022b",
    }


def test_every_paper_of_the_catalog_has_a_name_of_its_own(real: Atlas) -> None:
    names = real.names
    assert len({name.casefold() for name in names.values()}) == len(real.papers)
    assert [slug for slug, name in names.items() if name == slug and name.islower()] == [
        slug for slug, paper in real.papers.items() if paper.name == slug
    ]
    assert names["atp"] == "ATP (2024)"
    assert names["layersparsetheory"] == "ATP (2025)"
    assert names["essentialsparsity"] == "Jaiswal et al. 2023"
    assert names["naee"] == "NAEE"
