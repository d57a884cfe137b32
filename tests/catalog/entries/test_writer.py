"""Writing entries in the canonical layout."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from tests.catalog.any_text import texts
from tests.catalog.invented import DATA
from tools.catalog.documents.diagnostics import CatalogError
from tools.catalog.documents.validation import validate
from tools.catalog.documents.yaml_reader import parse
from tools.catalog.entries.writer import SCHEMA, WIDTH, reformat, render, revise
from tools.catalog.schema.identifiers import DATE, DAY, SCHEMES, SLUG
from tools.catalog.schema.paper import METRIC, Ids, Paper
from tools.catalog.schema.vocabulary import vocabulary


def form(pattern: str) -> st.SearchStrategy[str]:
    return st.from_regex(pattern, fullmatch=True, alphabet=ASCII)


def word(name: str) -> st.SearchStrategy[str]:
    return st.sampled_from(list(vocabulary()[name].terms))


def many(one: st.SearchStrategy[Any], most: int = 2) -> st.SearchStrategy[list[Any]]:
    return st.lists(one, min_size=1, max_size=most)


ASCII = st.characters(min_codepoint=32, max_codepoint=126)
SHORT, LINE, PARAGRAPH = texts(120), texts(300), texts(1200)
NUMBERS = form(r"-?\d{1,15}(\.\d{1,15})?")
YEARS = st.integers(1950, 2100).map(str)
ADDRESSES = form(r"https?://[a-z]+\.org(/[a-zA-Z0-9?=&#,:.%_-]{0,30})?")
FLAGS = st.sampled_from(["true", "false"])
ARXIV, DOI = form(SCHEMES["arxiv"].form), form(SCHEMES["doi"].form)
OUTSIDE = st.fixed_dictionaries({"title": LINE, "year": YEARS}, optional={"doi": DOI})
RELATIVES = many(form(SLUG) | OUTSIDE)
PARTS = st.fixed_dictionaries(
    {
        "title": LINE,
        "authors": many(SHORT, 6),
        "kind": word("kind"),
        "summary": PARAGRAPH,
        "year": YEARS,
        "status": word("status"),
        "added": form(DAY),
        "sources": st.fixed_dictionaries(
            {"checked": form(DAY), "from": many(LINE)},
            optional={"unverified": many(form(r"[a-z][a-z_-]*(\.[a-z][a-z_-]*)*"))},
        ),
    },
    optional={
        "other_titles": many(LINE),
        "role": word("role"),
        "bibkey": form(r"[A-Za-z][A-Za-z0-9:_.+-]{0,60}"),
        "venue": word("venues"),
        "volume": SHORT,
        "number": SHORT,
        "pages": form(r"[A-Za-z]?\d+(-[A-Za-z]?\d+)?"),
        "submitted": form(DATE),
        "aliases": many(form(SLUG)),
        "ids": st.fixed_dictionaries(
            {}, optional={name: form(scheme.form) for name, scheme in SCHEMES.items()}
        ),
        "links": st.fixed_dictionaries({}, optional={"venue": ADDRESSES, "paper": ADDRESSES}),
        "code": many(
            st.fixed_dictionaries(
                {"url": ADDRESSES, "official": FLAGS},
                optional={"commit": form(r"[0-9a-f]{7,40}"), "last_commit": form(DATE)},
            )
        ),
        "taxonomy": st.fixed_dictionaries(
            {
                "granularity": many(word("granularity")),
                "criterion": many(word("criterion")),
                "calibration": word("calibration"),
            }
        ),
        "models": many(word("models")),
        "datasets": st.fixed_dictionaries({"evaluation": many(word("datasets"), 20)}),
        "claims": many(
            st.fixed_dictionaries(
                {"model": SHORT, "metric": form(METRIC), "value": NUMBERS, "where": SHORT},
                optional={
                    "setting": LINE,
                    "pattern": form(r"[1-9]\d?:[1-9]\d?"),
                    "against": st.dictionaries(form(SLUG), NUMBERS, min_size=1, max_size=3),
                },
            )
        ),
        "relations": st.fixed_dictionaries(
            {}, optional={"builds-on": RELATIVES, "compares-with": RELATIVES}
        ),
        "notes": PARAGRAPH,
    },
)
# A slow machine is not a defect of the writer.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
FULL = (DATA / "atlas" / "catalog" / "papers" / "river.yaml").read_text(encoding="utf-8")


def read(text: str) -> Paper:
    paper, problems = validate(parse(text, Path("entry.yaml")), Paper)
    assert paper, "\n".join(map(str, problems))
    return paper


@patient
@given(PARTS)
def test_round_trip_keeps_the_paper(parts: dict[str, Any]) -> None:
    paper = Paper.model_validate(parts)
    written = render(paper)
    assert read(written) == paper
    assert reformat(written) == written
    assert written.startswith(f"{SCHEMA}\ntitle: ")


def test_full_entry_is_written_unchanged() -> None:
    assert reformat(FULL) == FULL
    assert read(reformat(render(read(FULL)))) == read(FULL)

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


def test_revise_keeps_notation_of_numbers() -> None:
    paper = read(FULL).model_copy(update={"year": 2025, "ids": Ids(arxiv="2401.00008")})
    revised = revise(FULL, paper)
    assert read(revised) == paper
    assert reformat(revised) == revised
    assert "value: 8.30, dense" in revised


def test_revise_removes_fields() -> None:
    revised = revise(FULL, read(FULL).model_copy(update={"track": None, "claims": None}))
    assert revised == re.sub(r"claims:\n(  - .*\n)+\n", "", FULL).replace("track: main\n", "")


@pytest.mark.parametrize("text", ["a: [1", "a: 1\na: 2", "- a", "", "a:\n", "a: b  # c"])
def test_rejects_invalid_texts(text: str) -> None:
    with pytest.raises(CatalogError, match=r"^entry:1|^entry:2"):
        reformat(text)


# Lines of the full entry where a comment is not part of a folded text.
OPEN = [
    number
    for number, line in enumerate(FULL.splitlines())
    if number and not re.match(r"summary|notes|  (Scores|the driest|smaller|Invented) ", line)
]
COMMENTS = st.lists(
    st.tuples(
        st.sampled_from(OPEN),
        st.sampled_from(["behind", "", "  ", "    ", "       "]),
        st.text("ab :'\"{[#->é🐙", max_size=9),
    ),
    max_size=8,
)


@patient
@given(COMMENTS)
def test_rejects_comments(comments: list[tuple[int, str, str]]) -> None:
    lines = [[line] for line in FULL.splitlines()]
    told = []
    for number, (place, where, words) in enumerate(comments):
        told.append(f"# {number} {words}".rstrip())
        if where != "behind":
            lines[place].append(where + told[-1])
        elif "#" not in lines[place][0]:
            lines[place][0] += f"  {told[-1]}"
        else:
            told.pop()
    text = "\n".join(line for block in lines for line in block)
    found = parse(text, Path("x"))
    assert found.data == parse(FULL, Path("x")).data
    assert sorted(found.comments.values()) == sorted(told)
    for number, comment in found.comments.items():
        assert text.split("\n")[number - 1].rstrip().endswith(comment)
    if told:
        for write in (reformat, lambda text: revise(text, read(FULL))):
            with pytest.raises(CatalogError, match="contains a comment, '# "):
                write(text)
