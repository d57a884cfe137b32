"""Records looked up at the sources, and rejected records."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.importing.lists import (
    FLAP,
    MINILLM,
    SPARSEGPT,
    WANDA,
    draft,
    drafts,
    dumped,
)
from tests.sources import replay as sources
from tests.tools.conftest import Command

# Facts of the sources


def test_facts_come_from_the_sources(run: Command, out: Path) -> None:
    done = run([SPARSEGPT | {"venue": "NeurIPS 2023", "authors": ["Elias Frantar"]}])
    assert done.code == 0
    assert done.lines["sparsegpt"] == (
        "accepted: sparsegpt; "
        "authors: arXiv has 2, which is used; the list has 1, without Dan Alistarh; "
        "venue: PMLR has 'icml', which is used; the list has 'neurips'"
    )
    made = draft(out, "sparsegpt")
    assert made["authors"] == ["Elias Frantar", "Dan Alistarh"]
    assert (made["venue"], made["pages"], made["status"]) == ("icml", "10323-10337", "published")
    assert made["sources"]["from"] == ["arXiv", "PMLR", "Awesome-LLM-Pruning"]
    assert made["sources"]["unverified"] == ["kind", "taxonomy.granularity"]


def test_offline_makes_no_request_and_verifies_nothing(
    run: Command, out: Path, replay: sources.Replay
) -> None:
    done = run([SPARSEGPT, MINILLM], "--offline")
    assert done.lines == {
        "sparsegpt": "accepted: sparsegpt",
        "minillm": "rejected: minillm; the record has no authors; add them, or run "
        "without --offline",
    }
    assert replay.requests == []
    made = draft(out, "sparsegpt")
    given = set(made) - {"sources", "added", "ids", "taxonomy"}
    assert given | {"ids.arxiv", "taxonomy.granularity"} == set(made["sources"]["unverified"])


def test_line_contains_notes_for_a_person(run: Command) -> None:
    words = {"granularity": ["unstructured", "mixed"], "year": 2022}
    assert run([SPARSEGPT | words], "--offline").lines["sparsegpt"] == (
        "accepted: sparsegpt; granularity: 'mixed' is not in vocabulary/granularity.yaml, left out"
        "; check_catalog.py will report: year: 2022 is before 2023-01, when arXiv assigned "
        "2301.00774; correct one of them"
    )
    stranger = SPARSEGPT | {"doi": "10.1162/tacl_a_00704"}
    said = run([stranger], "--force").lines["sparsegpt"]
    assert "DOI 10.1162/tacl_a_00704 is another paper, 'A Survey on" in said


def test_rejects_invalid_records(run: Command, out: Path) -> None:
    undated = {name: value for name, value in SPARSEGPT.items() if name != "year"}
    said = run([undated], "--offline").lines["sparsegpt"]
    assert said.startswith("rejected: sparsegpt; the field year is missing; add it, for example")
    assert drafts(out) == []


def test_rejects_authors_known_only_to_the_list(
    run: Command, out: Path, replay: sources.Replay
) -> None:
    replay.say("export.arxiv.org", sources.stored("arxiv/empty.xml"))
    replay.say(
        "api2.openreview.net",
        sources.changed("openreview/wanda.json", "notes", 0, "content", "authors", to=...),
    )
    done = run([WANDA | {"openreview": "PxoFut3dWW"}])
    assert "rejected: wanda; no source names its authors; add it by hand" in done.lines["wanda"]
    assert drafts(out) == []


def test_rejects_unknown_paper(run: Command, out: Path) -> None:
    unknown = {**MINILLM, "slug": "unknown", "title": "What Nobody Knows", "arxiv": "2401.09999"}
    wrong = {**MINILLM, "slug": "wrong", "title": "What Nobody Knows of Now", "arxiv": "2305.18403"}
    done = run([unknown, wrong])
    assert done.code == 1
    assert "no source confirms it; arXiv has no paper 2401.09999" in done.lines["unknown"]
    assert "arXiv 2305.18403 is another paper, 'LoRAPrune: Struct" in done.lines["wrong"]
    assert "rejected, no source: 2" in done.said
    assert drafts(out) == []


def commented(comment: str) -> sources.Answer:
    answer = sources.stored("arxiv/minillm.xml")
    comments = f"<arxiv:comment>{comment}</arxiv:comment><arxiv:primary_category"
    body = answer.body.replace(b"<arxiv:primary_category", comments.encode(), 1)
    assert body != answer.body
    return answer._replace(body=body)


@pytest.mark.parametrize(
    ("venue", "comment", "expected"),
    [
        (
            "arXiv",
            "Accepted at ICML 2024",
            "accepted: minillm; comment of the authors on arXiv: 'Accepted at ICML 2024'",
        ),
        (
            "ICML 2024",
            "Accepted at ICML 2024",
            "accepted: minillm; comment of the authors on arXiv: 'Accepted at ICML 2024'; venue: "
            "the list has 'icml'; no source names one",
        ),
    ],
)
def test_shows_the_comment_on_arxiv(
    run: Command, replay: sources.Replay, venue: str, comment: str, expected: str
) -> None:
    replay.say("export.arxiv.org", commented(comment))
    assert run([MINILLM | {"venue": venue}]).lines["minillm"] == expected


# Rejected records


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Frantar, Elias", "'Frantar, Elias' contains a comma; write 'First Last'"),
        (
            "ELIAS FRANTAR",
            "'ELIAS FRANTAR' is in capitals; write only the initials in capitals (the list)",
        ),
    ],
)
@pytest.mark.parametrize("offline", [(), ("--offline",)])
def test_rejects_invalid_names_in_the_list(
    run: Command, out: Path, replay: sources.Replay, name: str, said: str, offline: tuple[str, ...]
) -> None:
    done = run([SPARSEGPT | {"authors": ["Dan Alistarh", name]}], *offline)
    assert "rejected: sparsegpt; authors[1]: " in done.lines["sparsegpt"]
    assert said in done.lines["sparsegpt"]
    assert replay.requests == []
    assert drafts(out) == []


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (FLAP, "the catalog has flap, which has the same arXiv identifier, 2312.11983"),
        (
            FLAP | {"title": "Fluctuation-based Adaptive Structured Pruning for Large Language "
                    "Models", "arxiv": "2401.00001"},
            "the catalog has flap, which has the same title, 'Fluctuation-Based",
        ),
        (
            FLAP | {"title": "Fluctuation-based Adaptive Structured Pruning for Larger Language "
                    "Models", "arxiv": "2401.00001"},
            "if it is a different paper, add it with tools/add_paper.py --force",
        ),
        (SPARSEGPT | {"slug": "flap"}, "flap in the catalog has this slug; use another one"),
    ],
)  # fmt: skip
def test_rejects_known_paper_before_any_request(
    run: Command, replay: sources.Replay, record: dict[str, object], said: str
) -> None:
    done = run([record])
    assert said in done.lines[str(record["slug"])]
    assert done.lines[str(record["slug"])].startswith("rejected: ")
    assert replay.requests == []


def test_rejects_paper_found_to_be_known(run: Command, papers: Path, out: Path) -> None:
    entry = papers / "flap.yaml"
    entry.write_text(re.sub(r"(?m)^  doi: .*\n", "", entry.read_text(encoding="utf-8")))
    record = {k: v for k, v in FLAP.items() if k != "arxiv"}
    record |= {"title": "Adaptive Structured Pruning for Large Language Models"}
    done = run([record | {"doi": "10.1609/aaai.v38i10.28960"}])
    assert "the catalog has flap, which has the same arXiv" in done.lines["fluctuation"]
    assert drafts(out) == []


def test_accepts_repeated_paper_once(run: Command, out: Path) -> None:
    again = SPARSEGPT | {"slug": "again", "title": "Other Words of the Same"}
    expected = (
        "rejected: again; sparsegpt in line 1 has the same arXiv identifier, 2301.00774; keep"
    )
    assert run([SPARSEGPT, again]).lines["again"].startswith(expected)
    assert drafts(out) == ["sparsegpt"]
    assert run([SPARSEGPT, again], "--only", "again").lines["again"].startswith(expected)


def test_rejects_title_without_identifier(run: Command, replay: sources.Replay) -> None:
    bare = {k: v for k, v in SPARSEGPT.items() if k not in ("arxiv", "authors")}
    assert "the record needs an identifier or page: url" in run([bare]).lines["sparsegpt"]
    elsewhere = bare | {"url": "https://example.org/sparsegpt"}
    assert "no identifier of a known source" in run([elsewhere]).lines["sparsegpt"]
    assert replay.requests == []


def test_invalid_record_does_not_stop_the_others(run: Command, out: Path) -> None:
    text = dumped([SPARSEGPT])
    done = run(f"- slug: foo\n  titel: Foo\n- arxiv: 2301.1\n{text}", "--offline")
    assert done.lines["foo"] == (
        "rejected: foo; line 1: the field title is missing; add it, for example title: SparseGPT: "
        "Massive Language Models Can be Pruned in One-Shot; line 2: titel: is not a field of a "
        "record; did you mean title?"
    )
    assert "rejected: record 2; line 3: " in done.lines["record 2"]
    assert drafts(out) == ["sparsegpt"]
    assert (
        "3 records: 1 accepted, 2 rejected, 0 skipped\n  rejected, invalid record: 2\n" in done.said
    )
