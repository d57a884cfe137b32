"""Merging facts."""

from __future__ import annotations

from tools.sources.merge import merge
from tools.sources.services.facts import Facts, Resolved


def of(*found: Facts) -> Resolved:
    return merge(found)


def test_venue_facts_come_from_the_same_venue() -> None:
    resolved = of(
        Facts(source="arXiv", title="T", year=2023),
        Facts(source="Crossref", title="T", venue="aaai", year=2025, volume="39", pages="1-2"),
        Facts(source="OpenReview", title="T", venue="iclr", year=2024),
    )
    assert (resolved.facts.venue, resolved.facts.year) == ("iclr", 2024)
    assert (resolved.facts.volume, resolved.facts.pages) == (None, None)
    assert resolved.disagreements == (
        "venue: OpenReview has 'iclr', which is used; Crossref has 'aaai'",
    )


def test_compares_years_of_the_same_venue() -> None:
    resolved = of(
        Facts(source="ACL Anthology", title="T", venue="acl", year=2024),
        Facts(source="DBLP", title="T", venue="acl", year=2023),
    )
    assert resolved.disagreements == (
        "year: ACL Anthology has '2024', which is used; DBLP has '2023'",
    )


def test_compares_dois() -> None:
    resolved = of(
        Facts(source="arXiv", title="T", ids={"doi": "10.1/a"}),
        Facts(source="Crossref", title="T", ids={"doi": "10.1/b"}),
    )
    assert resolved.disagreements == (
        "doi: Crossref has '10.1/b', which is used; arXiv has '10.1/a'",
    )


def test_shortens_long_lists_of_names() -> None:
    many = tuple(f"A Name{number}x" for number in range(3000))
    resolved = of(
        Facts(source="arXiv", title="T", authors=("B C", "D E")),
        Facts(source="DBLP", title="T", authors=many),
        Facts(source="Crossref", title="T", authors=("D E", "B C")),
    )
    names = ", ".join(many[:6])
    assert resolved.disagreements == (
        f"authors: arXiv has 2, which is used; DBLP has 3000, with {names} and 2994 more, "
        "without B C and D E",
        "authors: arXiv has 2, which is used; Crossref has 2, in another order",
    )


def test_keeps_other_titles_once() -> None:
    resolved = of(
        Facts(source="arXiv", title="SparseGPT: Pruning"),
        Facts(source="DBLP", title="Pruning"),
        Facts(source="Crossref", title="sparsegpt - PRUNING"),
    )
    assert resolved.facts.other_titles == ("Pruning",)
    assert resolved.disagreements == (
        "title: arXiv has 'SparseGPT: Pruning', which is used; DBLP has 'Pruning'",
    )


def test_repeats_no_notes() -> None:
    one = Facts(source="arXiv", title="T", notes=("n",))
    assert merge([one, one], ["n", "m"]).notes == ("n", "m")


def test_confirmed_address_has_the_origin_of_the_source() -> None:
    page = {"venue": "https://proceedings.neurips.cc/a"}
    bibtex = Facts(source="BibTeX", title="T", links=page)
    assert of(bibtex).unverified == ("title", "links.venue")
    both = of(bibtex, Facts(source="NeurIPS proceedings", title="T", links=page))
    assert both.unverified == ()


def test_comment_is_not_a_fact_of_an_entry() -> None:
    facts = of(Facts(source="DBLP", title="T"), Facts(source="arXiv", comment="Oral")).facts
    assert facts.comment == "Oral"
    assert "comment" not in dict(facts)
