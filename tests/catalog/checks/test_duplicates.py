"""Duplicate entries."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.catalog.invented import Change, messages
from tools.catalog.checks.duplicates import Known
from tools.catalog.entries.loader import load_catalog
from tools.catalog.schema.paper import Ids, Paper


def test_finds_two_entries_of_one_paper(papers: Path, change: Change) -> None:
    change("river", ("name: River\n", ""), ("fidelity: faithful\n\n", ""))
    text = (papers / "river.yaml").read_text(encoding="utf-8")
    (papers / "stream.yaml").write_text(
        text.replace("aliases: [riverprune]\n", "").replace("the Current Does", "a Current Does"),
        encoding="utf-8",
    )
    (papers.parents[1] / "implementations" / "river" / "river.py").unlink()
    found = messages(papers)
    for field in ("arxiv", "doi", "openreview", "anthology", "pmlr", "ieee"):
        pattern = rf"stream.yaml:\d+: ids.{field}: .+ is also in river; correct it"
        assert any(re.match(pattern, one) for one in found)
    assert any("bibkey: lovelace2024river is also in river" in one for one in found)
    title = "River Pruning: Removing What the Current Does Not Need"
    # The other titles are equal.
    assert any(f"title: river has the same title, '{title}'" in one for one in found)


@pytest.mark.parametrize(
    ("title", "reason"),
    [
        ("River pruning - removing what the current does not need", "has the same title"),
        ("Removing What the Current Does Not Need", "has the same title"),
        ("River Pruning: Removing What the Current Doesn't Need", "has nearly the same title"),
        ("River Pruning of Language Models", "has the same title"),
        ("Ｒｉｖｅｒ Pruning of Language Models", "has the same title"),
        ("River Pruning of Vision Models", None),
        ("Removing Nothing", None),
    ],
)
def test_compares_titles_without_case_and_punctuation(
    papers: Path, title: str, reason: str | None
) -> None:
    probe = Paper.model_construct(title=title, ids=Ids())
    found = Known(load_catalog(papers)).same_as(probe)
    assert [slug for slug, _ in found] == (["river"] if reason else [])
    assert not reason or found[0][1].startswith(reason)


def test_finds_duplicates_by_identifier(papers: Path) -> None:
    probe = Paper.model_construct(title="Another Title", ids=Ids(doi="10.1000/EXAMPLE.7"))
    assert Known(load_catalog(papers)).same_as(probe) == [
        ("river", "has the same DOI identifier, 10.1000/example.7")
    ]
