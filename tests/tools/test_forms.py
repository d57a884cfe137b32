"""The issue forms match the vocabulary and the options of add_paper.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tools.adding.fields import FIELDS
from tools.catalog.schema.vocabulary import vocabulary

TEMPLATES = Path(__file__).resolve().parents[2] / ".github" / "ISSUE_TEMPLATE"
FORMS = sorted(path for path in TEMPLATES.glob("*.yml") if path.stem != "config")
PLACE = "identifier"

every_form = pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)


def read(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def questions(path: Path) -> list[dict[str, Any]]:
    return [part for part in read(path)["body"] if part["type"] != "markdown"]


def asked() -> dict[str, dict[str, Any]]:
    return {part["id"]: part for part in questions(TEMPLATES / "add_paper.yml")}


def test_blank_issues_are_enabled() -> None:
    assert len(FORMS) >= 5
    assert read(TEMPLATES / "config.yml") == {"blank_issues_enabled": True}


@every_form
def test_labels_are_unique(path):
    """A rule that the schema of forms, checked by `make lint`, does not contain."""
    parts = questions(path)
    labels = [part["attributes"]["label"] for part in parts]
    assert len({part["id"] for part in parts}) == len(set(labels)) == len(parts)
    for part in parts:
        for option in part["attributes"].get("options", []):
            assert option.lower() != "none", "reserved"
            assert "," not in option, "several are joined by commas"


def test_headings_are_flags() -> None:
    for name, part in asked().items():
        assert part["attributes"]["label"].lower().replace(" ", "-") == name
        assert name in FIELDS or name == PLACE


def test_dropdowns_match_the_vocabulary() -> None:
    dropdowns = {name: part for name, part in asked().items() if part["type"] == "dropdown"}
    assert dropdowns.keys() >= {"kind", "status", "venue", "granularity", "criterion"}
    for name, part in dropdowns.items():
        words = [option.partition(" (")[0] for option in part["attributes"]["options"]]
        field = FIELDS[name]
        assert words == list(vocabulary()[field.vocabulary].terms), name
        assert part["attributes"].get("multiple", False) == field.many, name


def test_required_facts_are_required_in_the_form() -> None:
    required = {name for name, part in asked().items() if part.get("validations")}
    assert required == {PLACE, "title", "author", "kind", "summary", "year", "status", "source"}
    assert asked().keys() >= {"granularity", "criterion", "calibration"}
