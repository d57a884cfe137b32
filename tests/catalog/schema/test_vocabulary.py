"""The vocabulary."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.catalog.documents.diagnostics import CatalogError
from tools.catalog.documents.yaml_reader import read
from tools.catalog.schema.paper import Taxonomy
from tools.catalog.schema.vocabulary import VOCABULARY, vocabulary

WORD = "a: {definition: The first., synonyms: [one]}"


def told(folder: Path, text: str) -> str:
    (folder / "field.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(CatalogError) as caught:
        vocabulary(folder)
    return str(caught.value).replace(f"{folder}/", "")


def test_every_vocabulary_field_has_a_file() -> None:
    fields = {*Taxonomy.model_fields, "kind", "role", "status", "read"}
    fields |= {"venues", "suites", "models", "datasets", "metrics"}
    assert set(vocabulary()) == fields


@pytest.mark.parametrize("name", sorted(vocabulary()))
def test_every_term_has_a_definition_of_one_sentence(name: str) -> None:
    assert vocabulary()[name].about.endswith(".")
    for term in vocabulary()[name].terms.values():
        assert term.definition
        assert term.definition[0].isupper()
        assert name == "venues" or term.definition.endswith(".")
        assert ". " not in term.definition


@pytest.mark.parametrize(
    ("name", "written", "meant"),
    [
        ("granularity", "weight-level", "unstructured"),
        ("granularity", "N:M", "semi-structured"),
        ("granularity", "Structured", "structured"),
        ("granularity", "unstuctured", "unstructured"),
        ("criterion", "Hessian", "layer-hessian"),
        ("calibration", "forward-only", "forward"),
        ("venues", "NIPS", "neurips"),
        ("venues", "Findings of ACL", "acl-findings"),
        ("role", "plugin", "plug-in"),
        ("granularity", "hexagonal", None),
        ("granularity", "", None),
    ],
)
def test_suggests_similar_terms(name: str, written: str, meant: str | None) -> None:
    assert vocabulary()[name].suggest(written) == meant


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("words: {}", "field.yaml:1: the field about is missing; add it"),
        ("about: x", "field.yaml:1: the field words is missing; add it"),
        ("about: x\nwords: [a]", "field.yaml:2: words: is not a mapping of fields"),
        (
            "about: x\nwords:\n  a: {synonyms: [b]}",
            "field.yaml:3: words.a: the field definition is missing; add it",
        ),
        ("about: x\nwords:\n  a: text", "field.yaml:3: words.a: is not a mapping of fields"),
        (
            f"about: x\nwords:\n  {WORD}\n  b: {{definition: The other., synonyms: [One]}}",
            "field.yaml:4: words.b: 'one' is a name of both a and b; remove it from one of them",
        ),
        (
            f"about: x\nwords:\n  {WORD}\n  b: {{definition: The other., synonyms: [a]}}",
            "field.yaml:4: words.b: 'a' is a name of both a and b; remove it from one of them",
        ),
        (
            "about: x\nwords:\n  a: {definition: The first., sinonyms: [b]}",
            "field.yaml:3: words.a.sinonyms: is not a field of a term; did you mean synonyms?",
        ),
        (
            f"about: x\nwords:\n  {WORD}\n  {WORD}",
            "field.yaml:4: words.a: is repeated, first in line 3; keep one of them",
        ),
        ("about: x\nwords: {a", "field.yaml:2: is not valid YAML"),
        ("", "field.yaml:1: is empty"),
        (
            "about: x\nwords:\n  a: {definition: Good., synonyms: text}",
            "field.yaml:3: words.a.synonyms: is not a list",
        ),
        (
            "about: x\nwords:\n  a: {definition: Good., label: [b]}",
            "field.yaml:3: words.a.label: is not a text",
        ),
        (
            "about: x\nwords:\n  a: {definition: Good., journal: yes}",
            "field.yaml:3: words.a.journal: is neither true nor false",
        ),
    ],
)
def test_reports_invalid_vocabulary_file(tmp_path: Path, text: str, message: str) -> None:
    assert told(tmp_path, text).startswith(message)


def test_reports_all_invalid_files(tmp_path: Path) -> None:
    (tmp_path / "another.yaml").write_text("about: x\nwords:\n  a: 1\n  b: 2\n")
    assert told(tmp_path, "").count("\n") == 2


def test_committed_files_are_valid() -> None:
    for path in VOCABULARY.glob("*.yaml"):
        assert list(read(path).data["words"]) == list(vocabulary()[path.stem].terms)


def test_metrics_need_a_better_direction(tmp_path: Path) -> None:
    words = "words:\n  a: {definition: The first., better: lower}\n  b: {definition: The other.}"
    (tmp_path / "metrics.yaml").write_text(f"about: x\n{words}\n", encoding="utf-8")
    with pytest.raises(CatalogError) as caught:
        vocabulary(tmp_path)
    (problem,) = caught.value.problems
    assert str(problem).endswith(
        "metrics.yaml:4: words.b: the field better is missing; write lower or higher"
    )
