"""Writing entries in the canonical layout."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest
from pydantic import BaseModel

from tests.catalog.invented import DATA
from tools.catalog.documents.validation import validate
from tools.catalog.documents.yaml_reader import parse
from tools.catalog.entries.writer import SCHEMA, WIDTH, canonical
from tools.catalog.schema.paper import Paper

FULL = (DATA / "atlas" / "catalog" / "papers" / "river.yaml").read_text(encoding="utf-8")


def read(text: str) -> Paper:
    paper, problems = validate(parse(text, Path("entry.yaml")), Paper)
    assert paper, "\n".join(map(str, problems))
    return paper


def reformat(text: str) -> str:
    return canonical(parse(text, Path("entry.yaml")).data)


def test_full_entry_is_written_unchanged() -> None:
    assert reformat(FULL) == FULL

    def absent(part: BaseModel, where: str) -> list[str]:
        found = []
        for name in type(part).model_fields:
            value = getattr(part, name)
            if value is None:
                found.append(where + name)
            elif isinstance(value, BaseModel):
                found += absent(value, f"{where}{name}.")
        return found

    assert absent(read(FULL), "") == ["taxonomy.topic"], "a method has none"


def test_reformats_order_spaces_quotes_and_identifiers() -> None:
    text = """\
        # yaml-language-server: $schema=elsewhere.json
        year:   2024
        title:  'A  River'

        authors: [Ada,
          Bo,
          Cy]
        code:
        - official: true
          url: https://example.org/a
        ids:
          doi: https://doi.org/10.1000/ABC
          arxiv: arXiv:2401.00007v3
        summary: >-
          One
          two.
        unknown: [1, {b: c}]
        """
    assert reformat(dedent(text)) == dedent(
        """\
        # yaml-language-server: $schema=../schema.json
        title: A River
        authors: [Ada, Bo, Cy]
        summary: >-
          One two.

        year: 2024

        ids:
          arxiv: "2401.00007"
          doi: 10.1000/abc
        code:
          - url: https://example.org/a
            official: true
        unknown:
          - "1"
          - {b: c}
        """
    )


def test_reformats_byte_order_mark_and_windows_lines() -> None:
    text = "\ufefftitle: Re\u0301sume\u0301 \t of  it\r\nauthors:\r\n- Bo\r\n"
    assert reformat(text) == f"{SCHEMA}\ntitle: Résumé of it\nauthors: [Bo]\n"


@pytest.mark.parametrize(
    ("name", "written", "canonical"),
    [
        ("arxiv", "arXiv:2301.00774", "2301.00774"),
        ("arxiv", "2301.00774v12", "2301.00774"),
        ("arxiv", "https://arxiv.org/abs/2301.00774v3", "2301.00774"),
        ("arxiv", "http://export.arxiv.org/pdf/cs/0601001.pdf", "cs/0601001"),
        ("arxiv", "no identifier v1", "no identifier v1"),
        ("doi", "https://doi.org/10.1609/AAAI.V38I10.28960", "10.1609/aaai.v38i10.28960"),
        ("doi", "doi:10.1000/a", "10.1000/a"),
        ("doi", "DX.DOI.ORG/10.1000/a", "10.1000/a"),
        ("doi", "none", "none"),
    ],
)
def test_normalises_identifiers(name: str, written: str, canonical: str) -> None:
    text = reformat(f"ids: {{{name}: '{written}'}}")
    assert parse(text, Path("x")).data == {"ids": {name: canonical}}
    assert reformat(text) == text


def test_wraps_lists_after_commas_and_texts_after_words() -> None:
    names = [f"Name Number{index} von Somewhere" for index in range(40)]
    text = reformat(f"authors: [{', '.join(names)}]\nnotes: {'word ' * 40}{'x' * 90} {'end'}\n")
    lines = text.splitlines()
    assert all(len(line) <= WIDTH for line in lines if "xxx" not in line)
    assert lines[1].startswith("authors: [Name Number0 von Somewhere, Name Number1")
    assert lines[2].startswith("  Name Number2 von Somewhere, ")
    assert parse(text, Path("x")).data["authors"] == names
    assert f"  {'x' * 90}" in lines
