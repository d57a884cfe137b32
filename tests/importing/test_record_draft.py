"""Drafts from records and their sources."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tools.adding.draft import Draft
from tools.importing.record import Record
from tools.importing.record_draft import build_draft, problems
from tools.importing.record_facts import LIST, differences, record_facts
from tools.sources.merge import merge
from tools.sources.services.facts import Facts, Resolved

PLAIN = {
    "slug": "foo",
    "title": "FooPrune: Pruning by Foo",
    "authors": ["Ann Bee", "Céd Dé"],
    "year": "2024",
    "arxiv": "2401.01234",
}
ARXIV = Facts(
    source="arXiv",
    title="FooPrune: Pruning by Foo",
    authors=("Ann Bee", "Céd Dé"),
    submitted="2024-01-02",
    year=2024,
    ids={"arxiv": "2401.01234"},
)


def of(*found: Facts, **fields: object) -> tuple[Record, Resolved]:
    """A record and its facts, merged with those of sources."""
    record = Record.model_validate(PLAIN | fields)
    return record, merge([record_facts(record), *found])


def draft(*found: Facts, **fields: object) -> tuple[Draft, list[str]]:
    return build_draft(*of(*found, **fields))


def list_differences(*found: Facts, **fields: object) -> list[str]:
    record, resolved = of(*found, **fields)
    return list(differences(record, record_facts(record), resolved))


def test_facts_of_the_list_are_unverified() -> None:
    made, _ = draft(venue="ICML 2024", kind="method", granularity=["unstructured"], sources=["A"])
    assert made.data["authors"] == ["Ann Bee", "Céd Dé"]
    assert set(made.data["sources"]["unverified"]) == {
        *("title", "authors", "year", "venue", "track", "status"),
        *("ids.arxiv", "kind", "taxonomy.granularity"),
    }
    assert made.data["sources"]["from"] == ["A"]


def test_uses_the_times_of_the_list() -> None:
    assert draft(when=["static"])[0].data["taxonomy"]["when"] == ["static"]


def test_facts_of_sources_are_verified() -> None:
    made, _ = draft(ARXIV, venue="arXiv")
    assert made.data["status"] == "preprint"
    assert made.data["submitted"] == "2024-01-02"
    assert made.data["sources"]["from"] == ["arXiv"]
    assert "unverified" not in made.data["sources"]
    made, _ = draft(ARXIV, venue="ICML 2024", sources=["A"])
    assert made.data["sources"]["unverified"] == ["year", "venue", "track", "status"]
    assert made.data["sources"]["from"] == ["arXiv", "A"]


@pytest.mark.parametrize(
    ("venue", "word", "track"),
    [
        ("EMNLP Findings 2024", "emnlp-findings", "findings"),
        ("NIPS'17", "neurips", "main"),
        ("ICLR Workshop 2023", "iclr", "workshop"),
        ("Transactions on Machine Learning Research", "tmlr", "journal"),
        ("arXiv", None, None),
        ("CoRR 2024", None, None),
    ],
)
def test_converts_venue_to_term(venue: str, word: str | None, track: str | None) -> None:
    made, _ = draft(venue=venue)
    assert (made.get(("venue",)), made.get(("track",))) == (word, track)
    assert made.data["status"] == ("published" if word else "preprint")
    assert list_differences(venue=venue) == []


def test_unknown_venue_is_reported_and_leaves_status_open() -> None:
    made, _ = draft(ARXIV, venue="KDD 2024")
    assert "venue" not in made.data
    assert "status" not in made.data
    assert list_differences(ARXIV, venue="KDD 2024") == [
        "venue: 'KDD 2024' is not in vocabulary/venues.yaml; define it there"
    ]


def test_unknown_terms_are_left_out_and_reported() -> None:
    made, notes = draft(
        kind="method", granularity=["unstructured", "structured-width"], recovery="magic"
    )
    assert made.data["kind"] == "method"
    assert made.data["taxonomy"] == {"granularity": ["unstructured"]}
    assert notes == [
        "granularity: 'structured-width' is not in vocabulary/granularity.yaml, left out",
        "recovery: 'magic' is not in vocabulary/recovery.yaml, left out",
    ]


def test_only_studies_keep_their_topic() -> None:
    made, notes = draft(kind="analysis", topic=["safety"], architecture=["moe"])
    assert made.data["taxonomy"] == {"topic": ["safety"], "architecture": ["moe"]}
    assert notes == []
    made, notes = draft(kind="method", topic=["safety"])
    assert "taxonomy" not in made.data
    assert notes == ["topic: 'safety' left out, because this kind of work has no topic"]


def test_survey_has_no_taxonomy() -> None:
    made, notes = draft(kind="survey", granularity=["unstructured"])
    assert "taxonomy" not in made.data
    reason = "because this kind of work has no granularity"
    assert notes == [f"granularity: 'unstructured' left out, {reason}"]


CODE = "https://github.com/foo/foo"


@pytest.mark.parametrize(
    ("named", "fields", "code"),
    [
        ("", {"code_official": "true"}, {"url": CODE, "official": "true"}),
        ("", {}, {"url": CODE}),  # whose it is, somebody has to say
        (CODE.upper(), {}, {"url": CODE.upper(), "official": "true"}),
        ("https://github.com/b/b", {}, {"url": "https://github.com/b/b", "official": "true"}),
    ],
)
def test_uses_code_of_the_list_if_no_source_has_code(
    named: str, fields: dict[str, str], code: dict[str, str]
) -> None:
    made, notes = draft(replace(ARXIV, code=(named,) if named else ()), code=CODE, **fields)
    assert made.data["code"] == [code]
    assert made.data["sources"].get("unverified", []) == ([] if named else ["code"])
    other = f"code: arXiv has https://github.com/b/b, which is used; the list has {CODE}"
    assert notes == ([other] if "b/b" in named else [])


ICML = Facts(source="PMLR", title=ARXIV.title, authors=ARXIV.authors, venue="icml", year=2025)


@pytest.mark.parametrize(
    ("found", "fields", "expected"),
    [
        (
            (replace(ARXIV, title="Fooing", authors=("Ann Bee",)),),
            {},
            [
                "title: arXiv has 'Fooing', which is used; the list has 'FooPrune: Pruning by Foo'",
                "authors: arXiv has 1, which is used; the list has 2, with Céd Dé",
            ],
        ),
        (
            (ARXIV,),
            {"year": "2023"},
            ["year: arXiv has 2024, which is used; the list has 2023"],
        ),
        (
            (ARXIV, ICML),
            {"venue": "arXiv"},
            [
                "venue: PMLR has 'icml', which is used; the list has 'arXiv'",
                "year: PMLR has 2025, which is used; the list has 2024",
            ],
        ),
        (
            (ARXIV,),
            {"venue": "ICLR 2025", "year": "2025"},
            ["venue: the list has 'iclr'; no source names one"],
        ),
        ((ARXIV, ICML), {"venue": "ICML 2025", "year": "2025"}, []),
        (
            (ARXIV, ICML),
            {"venue": "ICML 2024"},
            ["year: PMLR has '2025', which is used; the list has '2024'"],
        ),
        (
            (replace(ARXIV, ids={"arxiv": "2401.99999"}),),
            {},
            ["arxiv: arXiv has 2401.99999; the list has 2401.01234"],
        ),
        (
            (ARXIV,),
            {"doi": "10.5555/1", "conflicts": "year: 2023 in B"},
            [
                "doi: '10.5555/1' is not the DOI of a paper and was left out",
                "conflicts in the list: year: 2023 in B",
            ],
        ),
    ],
)
def test_reports_contradictions_of_list_and_sources(
    found: tuple[Facts, ...], fields: dict[str, str], expected: list[str]
) -> None:
    assert list_differences(*found, **fields) == expected


def test_unconfirmed_title_is_kept_as_unverified() -> None:
    made, _ = draft(replace(ARXIV, title="Fooing"))
    assert made.data["title"] == "Fooing"
    assert made.data["other_titles"] == [PLAIN["title"]]
    assert made.data["sources"]["unverified"] == ["other_titles"]


def test_the_comment_on_arxiv_is_shown_until_a_source_has_a_venue() -> None:
    said = replace(ARXIV, comment="Accepted at KDD 2024")
    line = "comment of the authors on arXiv: 'Accepted at KDD 2024'"
    assert line in list_differences(said)
    assert line in list_differences(said, venue="KDD 2024")
    assert line not in list_differences(said, ICML)


def test_finds_identifiers_in_pages_and_dois() -> None:
    page = "https://proceedings.mlr.press/v202/frantar23a.html"
    facts = record_facts(
        Record.model_validate(PLAIN | {"url": page, "doi": "10.18653/v1/P19-1580"})
    )
    assert facts.ids["pmlr"] == "v202/frantar23a"
    assert facts.ids["anthology"] == "P19-1580"
    assert facts.links == {}
    elsewhere = record_facts(Record.model_validate(PLAIN | {"url": "https://example.org/foo"}))
    assert elsewhere.links == {"paper": "https://example.org/foo"}
    assert elsewhere.source == LIST


def test_reports_invalid_fields_but_not_missing_ones() -> None:
    made, _ = draft(ARXIV, venue="KDD 2024", code=CODE)
    assert problems(made, Path("foo.yaml")) == ([], [])
    made.drop(("year",))
    (wrong,), _ = problems(made, Path("foo.yaml"))
    assert "the field year is missing" in str(wrong)
    made, _ = draft(year="2023")
    assert [str(one) for one in problems(made, Path("foo.yaml"))[1]] == [
        "foo.yaml:1: year: 2023 is before 2024-01, when arXiv assigned 2401.01234; "
        "correct one of them"
    ]
