"""Facts of several sources as one: whose word counts, and what is said of the rest."""

from __future__ import annotations

from tools.sources.merge import merge
from tools.sources.services.facts import Facts, Resolved


def of(*found: Facts) -> Resolved:
    return merge(found)


def test_what_belongs_to_a_venue_comes_from_there() -> None:
    resolved = of(
        Facts(source="arXiv", title="T", year=2023),
        Facts(source="Crossref", title="T", venue="aaai", year=2025, volume="39", pages="1-2"),
        Facts(source="OpenReview", title="T", venue="iclr", year=2024),
    )
    assert (resolved.facts.venue, resolved.facts.year) == ("iclr", 2024)
    assert (resolved.facts.volume, resolved.facts.pages) == (None, None)
    assert resolved.disagreements == (
        "venue: OpenReview has 'iclr', which is taken; Crossref has 'aaai'",
    )


def test_years_of_one_venue_are_compared() -> None:
    resolved = of(
        Facts(source="ACL Anthology", title="T", venue="acl", year=2024),
        Facts(source="DBLP", title="T", venue="acl", year=2023),
    )
    assert resolved.disagreements == (
        "year: ACL Anthology has '2024', which is taken; DBLP has '2023'",
    )


def test_dois_are_compared() -> None:
    resolved = of(
        Facts(source="arXiv", title="T", ids={"doi": "10.1/a"}),
        Facts(source="Crossref", title="T", ids={"doi": "10.1/b"}),
    )
    assert resolved.disagreements == (
        "doi: Crossref has '10.1/b', which is taken; arXiv has '10.1/a'",
    )


def test_long_lists_of_names_are_cut() -> None:
    many = tuple(f"A Name{number}x" for number in range(3000))
    resolved = of(
        Facts(source="arXiv", title="T", authors=("B C", "D E")),
        Facts(source="DBLP", title="T", authors=many),
        Facts(source="Crossref", title="T", authors=("D E", "B C")),
    )
    names = ", ".join(many[:6])
    assert resolved.disagreements == (
        f"authors: arXiv has 2, which is taken; DBLP has 3000, with {names} and 2994 more, "
        "without B C and D E",
        "authors: arXiv has 2, which is taken; Crossref has 2, in another order",
    )


def test_other_titles_are_kept_once() -> None:
    resolved = of(
        Facts(source="arXiv", title="SparseGPT: Pruning"),
        Facts(source="DBLP", title="Pruning"),
        Facts(source="Crossref", title="sparsegpt - PRUNING"),
    )
    assert resolved.facts.other_titles == ("Pruning",)
    assert resolved.disagreements == (
        "title: arXiv has 'SparseGPT: Pruning', which is taken; DBLP has 'Pruning'",
    )


def test_a_note_is_said_once() -> None:
    one = Facts(source="arXiv", title="T", notes=("n",))
    assert merge([one, one], ["n", "m"]).notes == ("n", "m")


def test_an_address_that_a_source_confirms_is_no_longer_that_of_a_file() -> None:
    page = {"venue": "https://proceedings.neurips.cc/a"}
    told = Facts(source="BibTeX", title="T", links=page)
    assert of(told).unverified == ("title", "links.venue")
    both = of(told, Facts(source="NeurIPS proceedings", title="T", links=page))
    assert both.unverified == ()


def test_a_comment_comes_along_and_is_no_fact_of_an_entry() -> None:
    facts = of(Facts(source="DBLP", title="T"), Facts(source="arXiv", comment="Oral")).facts
    assert facts.comment == "Oral"
    assert "comment" not in dict(facts)
