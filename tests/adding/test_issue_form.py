"""The issue forms offer the terms of the vocabulary."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools.catalog.schema.vocabulary import vocabulary
from tools.repository import REPOSITORY

TEMPLATES = REPOSITORY / ".github" / "ISSUE_TEMPLATE"
FORMS = sorted(path for path in TEMPLATES.glob("*.yml") if path.stem != "config")


def inputs(path: Path) -> list[Mapping[str, Any]]:
    """The inputs of a form."""
    body = yaml.safe_load(path.read_text(encoding="utf-8"))["body"]
    return [part for part in body if part["type"] != "markdown"]


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_labels_are_unique(path: Path) -> None:
    """A rule that the schema of forms, checked by `make lint`, does not contain."""
    found = inputs(path)
    assert len(found) == len({part["attributes"]["label"] for part in found})


def test_dropdowns_match_the_vocabulary() -> None:
    found = inputs(TEMPLATES / "add_paper.yml")
    dropdowns = {part["id"]: part["attributes"] for part in found if part["type"] == "dropdown"}
    assert dropdowns.keys() >= {"kind", "status", "venue", "granularity", "criterion"}
    for name, part in dropdowns.items():
        words = [option.partition(" (")[0] for option in part["options"]]
        assert words == list(vocabulary()[{"venue": "venues"}.get(name, name)].terms), name
        reserved = [one for one in part["options"] if "," in one or one.lower() == "none"]
        assert not reserved
