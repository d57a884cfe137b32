"""Reading filled-in issue forms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from tools.adding.draft import EntryError
from tools.adding.fields import FIELDS
from tools.adding.issue_form import IDENTIFIER, read_form
from tools.catalog.schema.vocabulary import vocabulary
from tools.repository import REPOSITORY

TEMPLATE = REPOSITORY / ".github" / "ISSUE_TEMPLATE" / "add_paper.yml"

Part = Mapping[str, Any]


def parts() -> dict[str, Part]:
    """The inputs of the committed form, by label."""
    body = yaml.safe_load(TEMPLATE.read_text(encoding="utf-8"))["body"]
    return {part["attributes"]["label"]: part for part in body if part["type"] != "markdown"}


def rendered(answers: Mapping[str, str]) -> str:
    """An issue as GitHub renders it, with `_No response_` for blank answers."""
    return "\n\n".join(f"### {label}\n\n{answers.get(label, '_No response_')}" for label in parts())


def filled() -> dict[str, str]:
    """An answer to every input: the last options of each list, or invented text."""
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


def test_reads_filled_in_form() -> None:
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


def test_every_option_of_the_form_is_a_term() -> None:
    for label, part in parts().items():
        for option in part["attributes"].get("options", ()):
            _, given = read_form(f"### {label}\n\n{option}\n")
            (value,) = given.values()
            word = value if isinstance(value, str) else value[0]
            assert word in vocabulary()[FIELDS[label.lower()].vocabulary].terms, (label, option)


def test_ignores_blank_answers() -> None:
    identifier, given = read_form(rendered({"Title": "A title", "Venue": "None"}))
    assert (identifier, given) == ("", {"title": "A title"})


def test_accepts_windows_line_ends() -> None:
    text = rendered(filled())
    assert read_form(text.replace("\n", "\r\n").replace("\r\r", "\r")) == read_form(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Please add my paper", "the file has no answers"),
        ("", "the file has no answers"),
        ("### Title\n\nA title\n\n### Colour\n\nred", "the form has no heading 'Colour'"),
    ],
)
def test_rejects_other_texts(text: str, message: str) -> None:
    with pytest.raises(EntryError, match=message):
        read_form(text)
