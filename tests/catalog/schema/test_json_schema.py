"""The committed JSON Schema."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel
from ruamel.yaml import YAML

from tools.catalog.entries.loader import PAPERS
from tools.catalog.entries.writer import MODELS, SCHEMA
from tools.catalog.schema import json_schema

DATA = Path(__file__).parents[1] / "data"
ENTRIES = [*sorted(PAPERS.glob("*.yaml")), *DATA.glob("atlas/catalog/papers/*.yaml")]
BY_SCHEMA = ["absent", "misspelt", "words", "numbers", "long", "shapes", "claims"]


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    committed = json.loads(json_schema.PATH.read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(committed)
    return Draft202012Validator(committed)


def as_editors_read(path: Path) -> Any:
    """Parse as YAML 1.2, in which a date is text."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(one) for key, one in value.items()}
        if isinstance(value, list):
            return [plain(one) for one in value]
        return value.isoformat() if isinstance(value, datetime.date) else value

    return plain(YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8")))


def test_committed_schema_is_current() -> None:
    advice = "run `python tools/check_catalog.py --schema`"
    assert json_schema.PATH.read_text(encoding="utf-8") == json_schema.schema(), advice


def test_every_entry_matches_the_schema(validator: Draft202012Validator) -> None:
    for path in ENTRIES:
        errors = validator.iter_errors(as_editors_read(path))
        assert [error.message for error in errors] == [], path.stem


@pytest.mark.parametrize("name", BY_SCHEMA)
def test_schema_rejects_invalid_entries(validator: Draft202012Validator, name: str) -> None:
    expected = (DATA / "broken" / f"{name}.txt").read_text(encoding="utf-8")
    errors = list(validator.iter_errors(as_editors_read(DATA / "broken" / f"{name}.yaml")))
    assert len(errors) >= min(3, expected.count("\n") - 1)


def test_schema_requires_paper_fields_except_for_baselines(validator: Draft202012Validator) -> None:
    chance = as_editors_read(PAPERS / "random.yaml")
    assert "authors" not in chance
    messages = [error.message for error in validator.iter_errors(chance | {"kind": "method"})]
    assert messages == [
        f"'{name}' is a required property" for name in ("authors", "year", "status")
    ]


def test_entries_name_the_schema() -> None:
    assert (PAPERS / SCHEMA.partition("$schema=")[2]).resolve() == json_schema.PATH
    for path in PAPERS.glob("*.yaml"):
        assert path.read_text(encoding="utf-8").startswith(f"{SCHEMA}\n")


@pytest.mark.parametrize("model", sorted({m.__name__: m for m in MODELS.values()}.items()))
def test_every_field_has_description_and_example(model: tuple[str, type[BaseModel]]) -> None:
    for name, field in model[1].model_fields.items():
        assert field.description, name
        assert field.description[0].isupper() or field.description.startswith("arXiv"), name
        assert field.description.endswith("."), name
        holds_parts = "tools.catalog.schema.paper" in str(field.annotation)
        assert field.examples or holds_parts, name


@pytest.mark.parametrize("model", sorted({m.__name__: m for m in MODELS.values()}.items()))
def test_examples_are_valid(model: tuple[str, type[BaseModel]]) -> None:
    whole = json.loads(json_schema.schema())
    part = whole if model[0] == "Paper" else whole["$defs"][model[0]]
    for name, field in part["properties"].items():
        for example in field.get("examples", []):
            checker = Draft202012Validator({**field, "$defs": whole["$defs"]})
            assert list(checker.iter_errors(example)) == [], name
