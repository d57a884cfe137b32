"""Input of a draft."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.adding.draft import Draft, EntryError
from tools.adding.draft_input import add_file, add_source_facts
from tools.catalog.documents.yaml_reader import MAX_BYTES
from tools.repository import REPOSITORY
from tools.sources.services.facts import Facts, Resolved


def test_facts_of_bibtex_files_are_unconfirmed(tmp_path: Path) -> None:
    path = tmp_path / "paper.bib"
    path.write_text(
        "@inproceedings{x, title={{FooPrune}: Pruning}, author={Dé, C{\\'e}d and Bee, Ann},"
        " booktitle={International Conference on Machine Learning}, year=2023, pages={1--9}}"
    )
    draft = Draft()
    add_file(draft, path)
    assert draft.data["title"] == "FooPrune: Pruning"
    assert draft.data["authors"] == ["Céd Dé", "Ann Bee"]
    assert {("title",), ("authors",), ("venue",), ("year",)} <= draft.guessed
    assert draft.sources == ["BibTeX"]


@pytest.mark.parametrize("journal", ["CoRR", "ArXiv", "Journal of Rivers"])
def test_without_a_known_venue_bibtex_gives_no_volume(tmp_path: Path, journal: str) -> None:
    path = tmp_path / "paper.bib"
    path.write_text(
        f"@article{{x, title={{FooPrune}}, author={{Bee, Ann}}, journal={{{journal}}},"
        " volume={abs/2401.01234}, year=2024, pages={1--9}, eprint={2401.01234}}"
    )
    draft = Draft()
    add_file(draft, path)
    assert draft.data["title"] == "FooPrune"
    assert not {"volume", "pages", "venue"} & set(draft.data)


def test_answered_fields_are_no_longer_unverified() -> None:
    draft = Draft()
    for loc in (("title",), ("volume",)):
        draft.guess(loc, "A", "BibTeX")
    draft.complete("2026-12-01")
    assert draft.data["sources"]["unverified"] == ["title", "volume"]
    draft.drop(("volume",))
    draft.put(("title",), "B", "you")
    draft.answered |= {"title", "volume"}
    draft.complete("2026-12-01")
    assert "unverified" not in draft.data["sources"]


def test_items_of_a_list_are_appended() -> None:
    draft = Draft()
    for index in (1, 2):  # the first was not accepted
        draft.put(("code", index, "url"), f"https://example.org/{index}", "arXiv")
    draft.complete_code()
    assert [code["url"] for code in draft.data["code"]] == [
        "https://example.org/1",
        "https://example.org/2",
    ]


def test_options_override_an_entry() -> None:
    draft = Draft()
    draft.put(("taxonomy", "calibration"), "none", "you")
    add_file(draft, REPOSITORY / "catalog" / "papers" / "sparsegpt.yaml")
    assert draft.data["taxonomy"]["calibration"] == "none"
    assert draft.data["taxonomy"]["granularity"] == ["unstructured", "semi-structured"]
    assert draft.data["ids"]["arxiv"] == "2301.00774"


def test_accepts_incomplete_drafts(tmp_path: Path) -> None:
    path = tmp_path / "paper.yaml"
    path.write_text("title: A title\nstatus: preprint\n")
    draft = Draft()
    add_file(draft, path)
    assert draft.data["title"] == "A title"


def test_does_not_guess_status_and_official(tmp_path: Path) -> None:
    path = tmp_path / "paper.yaml"
    path.write_text("title: A title\nvenue: icml\ncode:\n  - url: https://example.org/code\n")
    with pytest.raises(EntryError) as caught:
        add_file(Draft(), path)
    status, official = str(caught.value).splitlines()
    assert status == f"{path}: status is missing; write preprint, accepted or published"
    assert official.startswith(f"{path}: code[0].official is missing; write true if it belongs")
    draft = Draft()
    draft.put(("status",), "accepted", "you")
    draft.put(("code", 0, "url"), "https://example.org/mine", "you")
    add_file(draft, path)
    assert draft.data["status"] == "accepted"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("paper.pdf", b"%PDF", r"has an unknown extension; use one of \.bib"),
        ("paper.bib", b"\xff\xfe", "is not UTF-8"),
        ("paper.md", b"#" * (MAX_BYTES + 1), "has 100,001 bytes"),
        ("paper.bib", None, r"cannot read .*paper\.bib: No such file"),
        ("paper.yaml", b"title: A\nyear: soon\n", "paper.yaml:2: year: is not a whole number"),
    ],
)
def test_rejects_unusable_files(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(EntryError, match=message):
        add_file(Draft(), path)


def test_given_repository_replaces_those_of_the_sources() -> None:
    given = "https://github.com/example/foo"
    draft = Draft()
    draft.put(("code", 0, "url"), given, "you")
    facts = Facts(source="arXiv", code=("https://github.com/example/other", given))
    add_source_facts(draft, Resolved(facts=facts, origin={}, unverified=()))
    assert draft.data["code"] == [{"url": given}]


@pytest.mark.parametrize(("said", "doubted"), [(None, True), ("10.1000/mine", False)])
def test_facts_given_by_a_person_are_confirmed(said: str | None, doubted: bool) -> None:
    facts = Facts(source="OpenReview", ids={"doi": "10.1000/theirs"})
    origin = {"ids.doi": "OpenReview"}
    draft = Draft()
    if said:
        draft.put(("ids", "doi"), said, "you")
    differences = add_source_facts(
        draft, Resolved(facts=facts, origin=origin, unverified=("ids.doi",))
    )
    assert draft.data["ids"]["doi"] == (said or "10.1000/theirs")
    assert (("ids", "doi") in draft.guessed) == doubted
    assert len(differences) == (0 if doubted else 1)
