"""Comparing: each cell from an entry, the contract's support or a record."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace
from typing import Any

import pytest

from implementations.harness.results.record import NO_SPEED_UP, Record
from tests.keyed import changed
from tools.catalog.schema.paper import Code
from tools.catalog.synthetic import papers
from tools.site.atlas import Atlas
from tools.site.pages import compare


@pytest.fixture(scope="module")
def atlas(real: Atlas, records: list[Record]) -> Atlas:
    return Atlas(real.papers, real.methods, tuple(records), "https://example.org/atlas")


@pytest.fixture(scope="module")
def made(atlas: Atlas) -> dict[str, str]:
    return dict(compare.pages(atlas))


def data_of(page: str) -> dict[str, Any]:
    (text,) = re.findall(r'id="atlas-compare-data">(.*?)</script>', page)
    return json.loads(text)


def written(pieces: list[list[str]]) -> str:
    """What a cell says, links in brackets."""
    return ", ".join(text + (f" ({href})" if href else "") for text, href, *_ in pieces)


def cells(made: dict[str, str], slug: str) -> dict[tuple[str, str], str]:
    """By heading and label, what page and file say of a method."""
    data = data_of(made["compare.md"])
    labels = [(group, label) for group, _, names in data["groups"] for label in names]
    (method,) = [one for one in data["methods"] if one["slug"] == slug]
    found = {
        labels[int(row)]: written([data["pieces"][piece] for piece in pieces])
        for row, pieces in method["cells"].items()
    }
    assert method["results"] == (f"compare/{slug}.json" in made)
    for _, group, _, _, _, rows in json.loads(made.get(f"compare/{slug}.json", "[]")):
        # Of a share that is measured on several boards the first counts here.
        found = {(group, label): written(pieces) for _, label, pieces, _ in rows} | found
    return found


def test_plain_magnitude_says_what_its_numbers_depend_on(made: dict[str, str]) -> None:
    ties = cells(made, "magnitude")["Measured at 2:4", "Equal sizes"]
    assert ties.startswith("the earlier weight goes: another rule, another number")
    assert ties.endswith("(learn/how-we-measure.html#weights)")
    assert not [label for _, label in cells(made, "wanda") if label == "Equal sizes"]
    assert made["compare.md"].count("the earlier weight goes") >= 3


def test_cells_are_those_of_entry_support_and_records(atlas: Atlas, made: dict[str, str]) -> None:
    found = cells(made, "flap")
    paper = atlas.papers["flap"]
    assert found["The paper", "Title"] == paper.title
    assert found["What it does", "Removes"] == (
        "heads (learn/glossary.html#prunes-heads), channels (learn/glossary.html#prunes-channels)"
    )
    assert found["Code", "Repository"] == f"official ({paper.code[0].url})"
    assert found["Code", "Its licence"] == "Apache-2.0"
    assert found["Code", "Here"] == (
        "flap.py (https://example.org/atlas/blob/main/implementations/flap/flap.py)"
    )
    assert found["Code", "Fidelity to the paper"] == "faithful"
    assert found["Works with", "Attention"] == "MHA, GQA, MQA"
    assert found["Measured at 20 %", "Times dense"] == "1.82"
    assert found["Measured at 20 %", "Perplexity, Wikipedia"] == "37.28"  # 1.82 * 20.4861
    assert found["Measured at 20 %", "Speed, generating"] == "1.25 × dense (1.21 to 1.31)"
    assert found["Measured at 20 %", "Pruning time"] == "12.5 s"


def test_seeds_have_a_spread_and_zeros_no_speed(atlas: Atlas, made: dict[str, str]) -> None:
    found = cells(made, "wanda")
    assert found["Measured at 50 %", "Times dense"] == "1.97 ± 0.02"
    assert found["Measured at 50 %", "Speed, generating"] == NO_SPEED_UP
    assert found["Measured at 50 %", "Parameters"].endswith("39.5 % zero")
    assert found["Measured at 50 %", "Records"].count("seed") == 3


def test_what_is_also_quantised_is_not_compared_at_the_same_share(atlas: Atlas) -> None:
    fewer = [
        changed(record, footprint=record.footprint.model_copy(update={"bits": 1.516}))
        if record.method == "wanda"
        else record
        for record in atlas.records
    ]
    made = dict(compare.pages(Atlas(atlas.papers, atlas.methods, tuple(fewer))))
    found, other = cells(made, "wanda"), cells(made, "sparsegpt")
    assert ("Measured at 50 %", "Times dense") not in found
    assert found["Measured at 50 %, 1.52 bits", "Bits a weight"] == "1.52"
    assert ("Measured at 50 %", "Times dense") in other
    assert not any(label == "Bits a weight" for _, label in other)


def test_collapsed_ones_say_so_and_are_never_the_least(made: dict[str, str]) -> None:
    assert cells(made, "magnitude")["Measured at 2:4", "Times dense"] == "68.20, collapsed"
    values = {
        slug: next(
            value
            for _, group, _, _, _, rows in json.loads(made[f"compare/{slug}.json"])
            for _, label, _, value in rows
            if (group, label) == ("Measured at 2:4", "Times dense")
        )
        for slug in ("magnitude", "wanda")
    }
    assert values == {"magnitude": None, "wanda": pytest.approx(4.31)}


def test_the_table_without_a_script_holds_the_implemented_methods(
    atlas: Atlas, made: dict[str, str]
) -> None:
    table = made["compare.md"].split("<table", 1)[1].split("</table>", 1)[0]
    heads = re.findall(r'<th scope="col"><a href="papers/(\w+)\.html">', table)
    assert sorted(heads) == sorted(atlas.methods)
    (row,) = [row for row in re.findall(r"<tr>.*?</tr>", table) if ">Criterion<" in row]
    texts = [re.sub("<[^>]*>", "", cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", row)]
    assert texts == [
        ", ".join(atlas.papers[slug].taxonomy.criterion)  # type: ignore[union-attr]
        for slug in heads
    ]


def test_methods_without_a_folder_can_be_compared_by_their_words(
    atlas: Atlas, made: dict[str, str]
) -> None:
    found = cells(made, "slicegpt")
    assert ("What it does", "Criterion") in found
    assert not {group for group, _ in found if group.startswith("Measured")}
    slugs = {one["slug"] for one in data_of(made["compare.md"])["methods"]}
    assert "zhu2024survey" not in slugs


def test_addresses_of_a_hostile_entry_lead_nowhere(atlas: Atlas) -> None:
    code = Code.model_construct(url="javascript:alert(1)", official=True, withdrawn=False)
    paper = atlas.papers["slicegpt"].model_copy(
        update={"code": (code,), "title": "</script><script>alert(1)</script>"}
    )
    made = dict(compare.pages(Atlas({"slicegpt": paper}, {})))
    page = made["compare.md"]
    assert "javascript:" not in page
    assert "<script>alert" not in page
    title = cells(made, "slicegpt")["The paper", "Title"]
    assert html.unescape(title) == "</script><script>alert(1)</script>"


def test_a_thousand_methods_stay_below_a_megabyte(atlas: Atlas) -> None:
    many = Atlas({**papers(1000), **atlas.papers}, atlas.methods, atlas.records)
    page = dict(compare.pages(many))["compare.md"]
    assert len(page.encode()) < 900_000


def test_the_page_does_not_grow_with_records(atlas: Atlas, made: dict[str, str]) -> None:
    crowd = [
        changed(record, configuration={"sparsity": i / 100}, asked=i / 100)
        for record in atlas.records[:8]
        for i in range(1, 90)
    ]
    many = dict(compare.pages(replace(atlas, records=(*atlas.records, *crowd))))
    assert len(many["compare.md"]) < 1.1 * len(made["compare.md"])
    assert ("Measured at 34 %", "Times dense") in cells(many, "magnitude")
