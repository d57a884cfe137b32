"""The issue forms, and reading a filled-in one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools.adding.draft import EntryError
from tools.adding.draft_input import IDENTIFIER, read_form
from tools.adding.fields import FIELDS
from tools.catalog.schema.vocabulary import vocabulary
from tools.repository import REPOSITORY

TEMPLATES = REPOSITORY / ".github" / "ISSUE_TEMPLATE"
FORMS = sorted(path for path in TEMPLATES.glob("*.yml") if path.stem != "config")

Part = Mapping[str, Any]


def parts(path: Path = TEMPLATES / "add_paper.yml") -> dict[str, Part]:
    """The inputs of a form, by label."""
    body = yaml.safe_load(path.read_text(encoding="utf-8"))["body"]
    return {part["attributes"]["label"]: part for part in body if part["type"] != "markdown"}


def rendered(answers: Mapping[str, str]) -> str:
    """An issue as GitHub renders it, with `_No response_` for blank answers."""
    return "\n\n".join(f"### {label}\n\n{answers.get(label, '_No response_')}" for label in parts())


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_labels_are_unique(path: Path) -> None:
    """A rule that the schema of forms, checked by `make lint`, does not contain."""
    body = yaml.safe_load(path.read_text(encoding="utf-8"))["body"]
    questions = [part for part in body if part["type"] != "markdown"]
    assert len(questions) == len(parts(path)) == len({part["id"] for part in questions})


def test_labels_are_flags() -> None:
    for label, part in parts().items():
        assert label.lower().replace(" ", "-") == part["id"]
        assert part["id"] in FIELDS or label == IDENTIFIER


def test_dropdowns_match_the_vocabulary() -> None:
    dropdowns = {part["id"]: part for part in parts().values() if part["type"] == "dropdown"}
    assert dropdowns.keys() >= {"kind", "status", "venue", "granularity", "criterion"}
    for name, part in dropdowns.items():
        options = part["attributes"]["options"]
        field = FIELDS[name]
        words = [option.partition(" (")[0] for option in options]
        assert words == list(vocabulary()[field.vocabulary].terms), name
        assert part["attributes"].get("multiple", False) == field.many, name
        assert not [one for one in options if "," in one or one.lower() == "none"], "reserved"


def test_required_facts_are_required_in_the_form() -> None:
    required = {part["id"] for part in parts().values() if part.get("validations")}
    facts = {"title", "author", "kind", "tagline", "summary", "year", "status", "source"}
    assert required == facts | {IDENTIFIER.lower()}


def test_reads_filled_in_form() -> None:
    text = rendered(
        {
            "Identifier": "https://arxiv.org/abs/2399.01234v2",
            "Author": "Ann Bee\nCéd Dé",
            "Summary": "Removes blocks (the last ones) at once.\r\nUse it, or not, for depth.",
            "Calibration": "none (no data at all)",
            "Granularity": "unstructured, semi-structured",
            "Source": "arXiv abstract page\npaper",
            "Venue": "None",
        }
    )
    identifier, given = read_form(text)
    assert identifier == "https://arxiv.org/abs/2399.01234v2"
    assert given == {
        "author": ["Ann Bee", "Céd Dé"],
        "summary": "Removes blocks (the last ones) at once. Use it, or not, for depth.",
        "calibration": "none",
        "granularity": ["unstructured", "semi-structured"],
        "source": ["arXiv abstract page", "paper"],
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Please add my paper", "the file has no answers"),
        ("### Title\n\nA title\n\n### Colour\n\nred", "the form has no heading 'Colour'"),
    ],
)
def test_rejects_other_texts(text: str, message: str) -> None:
    with pytest.raises(EntryError, match=message):
        read_form(text)
