"""The vocabulary."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.catalog.documents.diagnostics import CatalogError
from tools.catalog.schema.paper import Taxonomy
from tools.catalog.schema.vocabulary import vocabulary

WORD = "a: {definition: The first., synonyms: [one]}"


def message_for(folder: Path, text: str) -> str:
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
        ("granularity", "unstuctured", "unstructured"),
        ("criterion", "Hessian", "layer-hessian"),
        ("venues", "NIPS", "neurips"),
        ("venues", "Findings of ACL", "acl-findings"),
        ("granularity", "hexagonal", None),
    ],
)
def test_suggests_similar_terms(name: str, written: str, meant: str | None) -> None:
    assert vocabulary()[name].suggest(written) == meant


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("words: {}", "field.yaml:1: the field about is missing; add it"),
        ("about: x\nwords:\n  a: text", "field.yaml:3: words.a: is not a mapping of fields"),
        (
            f"about: x\nwords:\n  {WORD}\n  b: {{definition: The other., synonyms: [One]}}",
            "field.yaml:4: words.b: 'one' is a name of both a and b; remove it from one of them",
        ),
        (
            "about: x\nwords:\n  a: {definition: The first., sinonyms: [b]}",
            "field.yaml:3: words.a.sinonyms: is not a field of a term; did you mean synonyms?",
        ),
    ],
)
def test_reports_invalid_vocabulary_file(tmp_path: Path, text: str, message: str) -> None:
    assert message_for(tmp_path, text).startswith(message)


def test_metrics_need_a_better_direction(tmp_path: Path) -> None:
    words = "words:\n  a: {definition: The first., better: lower}\n  b: {definition: The other.}"
    (tmp_path / "metrics.yaml").write_text(f"about: x\n{words}\n", encoding="utf-8")
    with pytest.raises(CatalogError) as caught:
        vocabulary(tmp_path)
    (problem,) = caught.value.problems
    assert str(problem).endswith(
        "metrics.yaml:4: words.b: the field better is missing; write lower or higher"
    )
