"""`update_paper.py`."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.sources import replay as sources
from tools.adding.checks import today
from tools.adding.update import Change, apply_changes
from tools.catalog.entries.loader import load_catalog, read_catalog
from tools.catalog.schema.paper import Paper

Command = Callable[..., tuple[int, str, str]]

PREPRINT = """\
# yaml-language-server: $schema=../schema.json
title: "SparseGPT: Massive Language Models Can Be Accurately Pruned in One-Shot"
authors: [Elias Frantar, Dan Alistarh]
kind: method
summary: >-
  Prunes every linear layer by a sparse least-squares solve, column by column,
  and moves each error onto the columns still to come. Use it for 2:4.

year: 2023
status: preprint
submitted: 2023-01-02
added: 2023-02-01

ids:
  arxiv: "2301.00774"
code:
  - url: https://github.com/IST-DASLab/sparsegpt
    official: true

taxonomy:
  granularity: [unstructured, semi-structured]
  criterion: [layer-hessian]
  calibration: forward

sources:
  checked: 2023-02-01
  read: paper
  from: [arXiv abstract page]
  unverified: [submitted, taxonomy.criterion]
notes: >-
  The year is that of the first version; the criterion is our reading.
"""


@pytest.fixture
def entry(papers: Path) -> Path:
    """An entry of a paper before its publication."""
    path = papers / "sparse.yaml"
    path.write_text(PREPRINT, encoding="utf-8")
    return path


def paper(entry: Path) -> Paper:
    """The current entry."""
    return load_catalog(entry.parent)[entry.stem]


def test_updates_published_preprint(update: Command, entry: Path) -> None:
    code, out, err = update("sparse", "--yes")
    assert (code, out) == (0, ""), err
    now = paper(entry)
    assert (now.status, now.venue, now.track, now.year) == ("published", "icml", "main", 2023)
    assert (now.volume, now.pages, now.ids.pmlr) == ("202", "10323-10337", "v202/frantar23a")
    assert now.sources.checked == today()
    assert now.sources.from_ == ("arXiv abstract page", "arXiv", "PMLR")
    assert now.sources.unverified == ("taxonomy.criterion",)
    assert now.added == "2023-02-01"
    text = entry.read_text(encoding="utf-8")
    assert text.endswith(PREPRINT[PREPRINT.index("notes:") :])
    assert "  - status: preprint -> published (PMLR)\n" in err
    assert "git switch -c update-sparse" in err


def test_shows_each_difference(update: Command, entry: Path) -> None:
    before = entry.read_bytes()
    code, out, err = update("sparse", "--dry-run")
    assert code == 0, err
    assert entry.read_bytes() == before
    for line in (
        "  - venue: icml (PMLR)",
        "  - status: preprint -> published (PMLR)",
        "  - submitted: 2023-01-02, confirmed (arXiv)",
    ):
        assert line in err.splitlines()
    assert update("sparse", "--yes")[0] == 0
    assert out == entry.read_text(encoding="utf-8")


def test_second_update_changes_nothing(update: Command, entry: Path) -> None:
    assert update("sparse", "--yes")[0] == 0
    before = entry.read_bytes()
    for name in ("sparse.yaml", entry):
        code, _, err = update(name, "--yes")
        assert (code, err) == (0, "sparse: the entry agrees with its sources\n")
    assert entry.read_bytes() == before


def test_yes_keeps_what_a_person_wrote(update: Command, entry: Path) -> None:
    mine = PREPRINT.replace("[Elias Frantar, Dan Alistarh]", "[Elias Frantár, Dan Alistarh]")
    entry.write_text(mine.replace("Massive Language Models", "Big Language Models"))
    code, _, err = update("sparse", "--yes")
    assert code == 0, err
    now = paper(entry)
    assert now.title.startswith("SparseGPT: Big Language Models")
    assert now.authors[0] == "Elias Frantár"
    assert now.venue == "icml"
    left = err.partition("Not changed, because a person wrote it")[2]
    assert "title: SparseGPT: Big Language Models" in left
    assert "authors: Elias Frantár, Dan Alistarh -> Elias Frantar, Dan Alistarh (arXiv)" in left


@pytest.mark.parametrize("others", [["A Third Title"], ["A Third Title", "Old: Title"]])
def test_changed_title_stays_among_other_titles(entry: Path, others: list[str]) -> None:
    found = read_catalog(entry.parent).entries["sparse"]
    old = found.paper.title
    others = [old if title == "Old: Title" else title for title in others]
    accepted = [
        Change(("title",), old, "A New Title", "arXiv", safe=False),
        Change(("other_titles",), None, others, "arXiv", safe=True),
    ]
    draft = apply_changes(found, accepted)
    assert draft.data["title"] == "A New Title"
    assert draft.data["other_titles"] == ["A Third Title", old]


def test_a_repository_that_a_source_names_is_official(entry: Path) -> None:
    without = re.sub(r"(?m)^code:\n(  .*\n)*", "", PREPRINT)
    entry.write_text(without, encoding="utf-8")
    found = read_catalog(entry.parent).entries["sparse"]
    url = "https://github.com/IST-DASLab/sparsegpt"
    link = Change(("code", 0, "url"), None, url, "arXiv", safe=True)
    assert apply_changes(found, [link]).get(("code", 0, "official")) == "true"


def test_requires_yes_without_terminal(update: Command, entry: Path) -> None:
    before = entry.read_bytes()
    code, _, err = update("sparse")
    assert code == 1
    assert "questions need a terminal; use --yes" in err
    assert entry.read_bytes() == before


def test_rejects_entry_that_breaks_the_catalog(update: Command, entry: Path, papers: Path) -> None:
    other = PREPRINT.replace("SparseGPT: Massive Language Models Can", "Another: Things That Can")
    other = other.replace("2301.00774", "2301.00775").replace(
        "code:", "  pmlr: v202/frantar23a\ncode:"
    )
    (papers / "other.yaml").write_text(other)
    before = entry.read_bytes()
    code, _, err = update("sparse", "--yes")
    assert code == 1
    assert "ids.pmlr: v202/frantar23a is also in" in err
    assert entry.read_bytes() == before


@pytest.mark.parametrize(
    ("slug", "message"),
    [
        ("sparze", "the catalog has no entry sparze; did you mean sparse?"),
        ("qqq", "the catalog has no entry qqq; to add one, use add_paper.py"),
        ("broken", "broken.yaml is not valid; run tools/check_catalog.py and fix it first"),
        ("nowhere", "the entry has no identifier of a known source; edit it by hand"),
    ],
)
def test_reports_entries_that_cannot_be_updated(
    update: Command, replay: sources.Replay, entry: Path, papers: Path, slug: str, message: str
) -> None:
    (papers / "broken.yaml").write_text("title: [")
    page = "links: {paper: https://example.org/paper}"
    nowhere = PREPRINT.replace('ids:\n  arxiv: "2301.00774"', page)
    (papers / "nowhere.yaml").write_text(nowhere)
    code, _, err = update(slug, "--yes")
    assert code == 1
    assert message in err
    assert replay.requests == []


def test_failing_sources_change_nothing(
    update: Command, replay: sources.Replay, entry: Path
) -> None:
    replay.refuse()
    before = entry.read_bytes()
    code, _, err = update("sparse", "--yes")
    assert code == 1
    assert re.fullmatch(r"export\.arxiv\.org .*HTTP 503.*, or edit the entry by hand\n", err)
    assert entry.read_bytes() == before
