"""What a BibTeX file, a filled issue form or an entry says of a paper."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools.adding.draft import Draft, Refused
from tools.adding.fields import FIELDS
from tools.adding.files import read_file
from tools.adding.issue_form import IDENTIFIER, read_form
from tools.adding.take import take_file, take_resolved
from tools.catalog.documents.yaml_reader import LARGEST
from tools.catalog.schema.vocabulary import vocabulary
from tools.repository import REPOSITORY
from tools.sources.facts import Facts, Resolved

TEMPLATE = REPOSITORY / ".github" / "ISSUE_TEMPLATE" / "add_paper.yml"

Part = Mapping[str, Any]


def parts() -> dict[str, Part]:
    """The inputs of the form that is in the repository, by label."""
    body = yaml.safe_load(TEMPLATE.read_text(encoding="utf-8"))["body"]
    return {part["attributes"]["label"]: part for part in body if part["type"] != "markdown"}


def rendered(answers: Mapping[str, str]) -> str:
    """An issue as GitHub writes it: a heading for each input, `_No response_` where it is blank."""
    return "\n\n".join(f"### {label}\n\n{answers.get(label, '_No response_')}" for label in parts())


def filled() -> dict[str, str]:
    """An answer to every input: the last options of each list, made-up text elsewhere."""
    answers = {
        "Identifier": "https://arxiv.org/abs/2399.01234v2",
        "Title": "FooPrune: Pruning by Foo",
        "Author": "Ann Bee\nCéd Dé",
        "Name": "FooPrune",
        "Summary": "Removes blocks (the last ones) at once.\r\nUse it, or not, for depth.",
        "Year": "2399",
        "Submitted": "2399-01-02",
        "Code": "https://github.com/example/fooprune",
        "Source": "arXiv abstract page\npaper",
        "Note": "The code has another name.",
    }
    for label, part in parts().items():
        if part["type"] == "dropdown":
            options = part["attributes"]["options"]
            several = part["attributes"].get("multiple", False)
            answers[label] = ", ".join(options[:2]) if several else options[0]
    return answers


def test_every_label_of_the_form_is_a_flag() -> None:
    labels = {label.lower().replace(" ", "-") for label in parts()} - {IDENTIFIER.lower()}
    assert labels <= FIELDS.keys()
    assert IDENTIFIER in parts()


def test_a_filled_form_is_read_as_it_was_filled() -> None:
    identifier, given = read_form(rendered(filled()))
    assert identifier == "https://arxiv.org/abs/2399.01234v2"
    assert given["author"] == ["Ann Bee", "Céd Dé"]
    assert given["source"] == ["arXiv abstract page", "paper"]
    assert given["summary"] == "Removes blocks (the last ones) at once. Use it, or not, for depth."
    assert given["calibration"] == "none"
    assert given["granularity"] == ["unstructured", "semi-structured"]
    for flag, value in given.items():
        if words := FIELDS[flag].words:
            assert {value} if isinstance(value, str) else set(value) <= set(words.terms), flag
    assert given.keys() == {label.lower() for label in parts()} - {IDENTIFIER.lower()}


def test_every_option_of_the_form_is_a_word() -> None:
    for label, part in parts().items():
        for option in part["attributes"].get("options", ()):
            _, given = read_form(f"### {label}\n\n{option}\n")
            (value,) = given.values()
            word = value if isinstance(value, str) else value[0]
            assert word in vocabulary()[FIELDS[label.lower()].vocabulary].terms, (label, option)


def test_blank_answers_are_no_answers() -> None:
    identifier, given = read_form(rendered({"Title": "A title", "Venue": "None"}))
    assert (identifier, given) == ("", {"title": "A title"})


def test_windows_line_ends_change_nothing() -> None:
    text = rendered(filled())
    assert read_form(text.replace("\n", "\r\n").replace("\r\r", "\r")) == read_form(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Please add my paper", "the file holds no answers"),
        ("", "the file holds no answers"),
        ("### Title\n\nA title\n\n### Colour\n\nred", "the heading 'Colour' is not one of"),
    ],
)
def test_other_text_is_refused(text: str, message: str) -> None:
    with pytest.raises(Refused, match=message):
        read_form(text)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("paper.pdf", b"%PDF", r"its name has to end in \.bib"),
        ("paper.bib", b"\xff\xfe", "is not UTF-8 text"),
        ("paper.md", b"#" * (LARGEST + 1), "has 100,001 bytes"),
        ("paper.yaml", b"title: x\ntitle: y\n", r"paper.yaml:2: title: stands twice"),
        ("paper.yaml", b"title: A title\n", "the field authors is missing"),
    ],
)
def test_a_file_that_is_of_no_use_is_refused(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(Refused, match=message):
        read_file(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"none\.bib cannot be read: No such file"):
        read_file(tmp_path / "none.bib")


def test_a_bibtex_file_is_a_guess_until_somebody_confirms_it(tmp_path: Path) -> None:
    path = tmp_path / "paper.bib"
    path.write_text(
        "@inproceedings{x, title={{FooPrune}: Pruning}, author={Dé, C{\\'e}d and Bee, Ann},"
        " booktitle={International Conference on Machine Learning}, year=2023, pages={1--9}}"
    )
    draft = Draft()
    take_file(draft, read_file(path))
    assert draft.data["title"] == "FooPrune: Pruning"
    assert draft.data["authors"] == ["Céd Dé", "Ann Bee"]
    assert {("title",), ("authors",), ("venue",), ("year",)} <= draft.guessed
    assert draft.sources == ["BibTeX"]


def test_what_was_given_by_flag_stands_against_an_entry(tmp_path: Path) -> None:
    path = REPOSITORY / "catalog" / "papers" / "sparsegpt.yaml"
    draft = Draft()
    draft.put(("taxonomy", "calibration"), "none", "you")
    take_file(draft, read_file(path))
    assert draft.data["taxonomy"]["calibration"] == "none"
    assert draft.data["taxonomy"]["granularity"] == ["unstructured", "semi-structured"]
    assert draft.data["ids"]["arxiv"] == "2301.00774"


@pytest.mark.parametrize(("said", "doubted"), [(None, True), ("10.1000/mine", False)])
def test_what_a_person_says_is_not_doubted_because_a_source_is(
    said: str | None, doubted: bool
) -> None:
    facts = Facts(source="Semantic Scholar", ids={"doi": "10.1000/theirs"})
    origin = {"ids.doi": "Semantic Scholar"}
    draft = Draft()
    if said:
        draft.put(("ids", "doi"), said, "you")
    differences = take_resolved(
        draft, Resolved(facts=facts, origin=origin, unverified=("ids.doi",))
    )
    assert draft.data["ids"]["doi"] == (said or "10.1000/theirs")
    assert (("ids", "doi") in draft.guessed) == doubted
    assert len(differences) == (0 if doubted else 1)
