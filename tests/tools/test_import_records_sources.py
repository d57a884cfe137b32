"""What the sources say of a record, and which records are refused with or without them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.importing.lists import (
    FLAP,
    LLM_PRUNER,
    MINILLM,
    SPARSEGPT,
    WANDA,
    draft,
    drafts,
    dumped,
)
from tests.sources import server
from tests.tools.conftest import Command

# What the sources say.


def test_facts_come_from_the_sources(run: Command, out: Path) -> None:
    done = run([SPARSEGPT | {"venue": "NeurIPS 2023", "authors": ["Elias Frantar"]}])
    assert done.code == 0
    assert done.lines["sparsegpt"] == (
        "taken: sparsegpt; "
        "authors: arXiv has 2, which is taken; the list has 1, without Dan Alistarh; "
        "venue: PMLR has 'icml', which is taken; the list has 'neurips'"
    )
    made = draft(out, "sparsegpt")
    assert made["authors"] == ["Elias Frantar", "Dan Alistarh"]
    assert (made["venue"], made["pages"], made["status"]) == ("icml", "10323-10337", "published")
    assert made["sources"]["from"] == ["arXiv", "PMLR", "Awesome-LLM-Pruning"]
    assert made["sources"]["unverified"] == ["kind", "taxonomy.granularity"]


def test_offline_nothing_is_asked_and_nothing_verified(
    run: Command, out: Path, replay: server.Replay
) -> None:
    done = run([SPARSEGPT, MINILLM], "--offline")
    assert done.lines == {
        "sparsegpt": "taken: sparsegpt",
        "minillm": "refused: minillm; has no authors, and no source is asked; add them, or leave "
        "out --offline",
    }
    assert replay.requests == []
    made = draft(out, "sparsegpt")
    given = set(made) - {"sources", "added", "ids", "taxonomy"}
    assert given | {"ids.arxiv", "taxonomy.granularity"} == set(made["sources"]["unverified"])


def test_what_a_person_should_look_at_stands_in_the_line(run: Command) -> None:
    words = {"granularity": ["unstructured", "mixed"], "year": 2022}
    assert run([SPARSEGPT | words], "--offline").lines["sparsegpt"] == (
        "taken: sparsegpt; granularity: 'mixed' not in vocabulary/granularity.yaml, left out; "
        "the checks will say: year: 2022 is before the arXiv identifier 2301.00774, given in "
        "2023-01; correct one of them"
    )
    stranger = SPARSEGPT | {"doi": "10.1162/tacl_a_00704"}
    said = run([stranger], "--force").lines["sparsegpt"]
    assert "DOI 10.1162/tacl_a_00704 is another paper, 'A Survey on" in said


def test_what_can_be_no_entry_is_refused(run: Command, out: Path) -> None:
    undated = {name: value for name, value in SPARSEGPT.items() if name != "year"}
    said = run([undated], "--offline").lines["sparsegpt"]
    assert said.startswith("refused: sparsegpt; the field year is missing; add it, for example")
    assert drafts(out) == []


def test_authors_may_be_missing_where_a_source_knows_them(run: Command, out: Path) -> None:
    assert run([MINILLM]).lines["minillm"] == "taken: minillm"
    assert draft(out, "minillm")["authors"][0] == "Hongrong Cheng"


def test_authors_that_only_the_list_has_are_not_enough(
    run: Command, out: Path, replay: server.Replay
) -> None:
    replay.say("export.arxiv.org", server.stored("arxiv/empty.xml"))
    replay.say(
        "api2.openreview.net",
        server.changed("openreview/wanda.json", "notes", 0, "content", "authors", to=...),
    )
    done = run([WANDA | {"openreview": "PxoFut3dWW"}])
    assert "refused: wanda; no source names its authors; add it by hand" in done.lines["wanda"]
    assert drafts(out) == []


def test_a_paper_that_no_source_knows_is_refused(run: Command, out: Path) -> None:
    unknown = {**MINILLM, "slug": "unknown", "title": "What Nobody Knows", "arxiv": "2401.09999"}
    wrong = {**MINILLM, "slug": "wrong", "title": "What Nobody Knows of Now", "arxiv": "2305.18403"}
    done = run([unknown, wrong])
    assert done.code == 1
    assert "no source confirms it; arXiv has no paper 2401.09999" in done.lines["unknown"]
    assert "arXiv 2305.18403 is another paper, 'LoRAPrune: Struct" in done.lines["wrong"]
    assert "refused, no source: 2" in done.said
    assert drafts(out) == []


def test_without_a_network_each_record_says_so(run_script, papers: Path, tmp_path: Path) -> None:
    (tmp_path / "list.yaml").write_text(dumped([SPARSEGPT, WANDA]), encoding="utf-8")
    done = run_script(
        *("import_records.py", tmp_path / "list.yaml", "--out", tmp_path / "drafts"),
        *("--papers", papers),
        **server.refusing(),
    )
    assert done.code == 1
    assert done.out.count("no source confirms it; export.arxiv.org cannot be reached") == 2
    assert done.err == ""
    assert drafts(tmp_path / "drafts") == []


def commented(comment: str) -> server.Answer:
    answer = server.stored("arxiv/minillm.xml")
    told = f"<arxiv:comment>{comment}</arxiv:comment><arxiv:primary_category"
    body = answer.body.replace(b"<arxiv:primary_category", told.encode(), 1)
    assert body != answer.body
    return answer._replace(body=body)


@pytest.mark.parametrize(
    ("venue", "comment", "expected"),
    [
        (
            "arXiv",
            "Accepted at ICML 2024",
            "refused: minillm; a preprint to all sources, but on arXiv the authors say 'Accepted "
            "at ICML 2024'; look, and give the record its venue",
        ),
        ("arXiv", "Under review at ICML 2024", "taken: minillm"),
        (
            "ICML 2024",
            "Accepted at ICML 2024",
            "taken: minillm; on arXiv the authors say 'Accepted at ICML 2024'; venue: the list "
            "has 'icml'; no source names one",
        ),
    ],
)
def test_a_preprint_whose_authors_name_a_venue_is_for_a_person(
    run: Command, replay: server.Replay, venue: str, comment: str, expected: str
) -> None:
    replay.say("export.arxiv.org", commented(comment))
    assert run([MINILLM | {"venue": venue}]).lines["minillm"] == expected


# Which records are refused.


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Frantar, Elias", "'Frantar, Elias' is not first name first; write 'First Last'"),
        ("Elias Frantar et al.", "stands for others; list all authors"),
        ("Frantar", "'Frantar' is one word; write the full name"),
        ("ELIAS FRANTAR", "'ELIAS FRANTAR' is all in capitals; write it as a name (the list)"),
    ],
)
@pytest.mark.parametrize("offline", [(), ("--offline",)])
def test_names_of_the_list_have_to_be_names(
    run: Command, out: Path, replay: server.Replay, name: str, said: str, offline: tuple[str, ...]
) -> None:
    done = run([SPARSEGPT | {"authors": ["Dan Alistarh", name]}], *offline)
    assert "refused: sparsegpt; authors[1]: " in done.lines["sparsegpt"]
    assert said in done.lines["sparsegpt"]
    assert replay.requests == []
    assert drafts(out) == []


def test_names_of_a_source_have_to_be_names(run: Command, replay: server.Replay) -> None:
    replay.say("export.arxiv.org", server.feed(**{"Elias Frantar": "Frantar"}))
    assert "'Frantar' is one word" in run([SPARSEGPT]).lines["sparsegpt"]
    assert "(arXiv)" in run([SPARSEGPT]).lines["sparsegpt"]


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
            "if it is another paper, add it by itself: tools/add_paper.py --force",
        ),
        (SPARSEGPT | {"slug": "flap"}, "flap in the catalog has this slug; give it another"),
    ],
)  # fmt: skip
def test_what_the_catalog_has_is_refused_before_any_request(
    run: Command, replay: server.Replay, record: dict[str, object], said: str
) -> None:
    done = run([record])
    assert said in done.lines[str(record["slug"])]
    assert done.lines[str(record["slug"])].startswith("refused: ")
    assert replay.requests == []


def test_what_the_catalog_turns_out_to_have_is_refused(
    run: Command, papers: Path, out: Path
) -> None:
    entry = papers / "flap.yaml"
    entry.write_text(re.sub(r"(?m)^  doi: .*\n", "", entry.read_text(encoding="utf-8")))
    record = {k: v for k, v in FLAP.items() if k != "arxiv"}
    record |= {"title": "Adaptive Structured Pruning for Large Language Models"}
    done = run([record | {"doi": "10.1609/aaai.v38i10.28960"}])
    assert "the catalog has flap, which has the same arXiv" in done.lines["fluctuation"]
    assert drafts(out) == []


def test_a_paper_that_stands_twice_in_the_list_is_taken_once(run: Command, out: Path) -> None:
    again = SPARSEGPT | {"slug": "again", "title": "Other Words of the Same"}
    expected = "refused: again; sparsegpt in line 1 has the same arXiv identifier, 2301.00774; keep"
    assert run([SPARSEGPT, again]).lines["again"].startswith(expected)
    assert drafts(out) == ["sparsegpt"]
    assert run([SPARSEGPT, again], "--only", "again").lines["again"].startswith(expected)


def test_two_records_that_turn_out_to_be_one_paper_make_one_draft(run: Command, out: Path) -> None:
    title = "LLM-Pruner: On the Structural Pruning of Large Language Models"
    page = f"https://proceedings.neurips.cc/paper_files/paper/2023/hash/{LLM_PRUNER}.html"
    one = {"slug": "one", "title": "Structural Pruning of Large Models", "url": page}
    two = {"slug": "two", "title": title, "arxiv": "2305.11627"}
    assert "taken" in run([one, two], "--only", "one").lines["one"]
    expected = "refused: two; the draft one has the same arXiv identifier, 2305.11627; keep one"
    assert run([one, two], "--only", "two").lines["two"] == expected
    again = run([one, two], "--force").lines
    assert (again["one"].split(";")[0], again["two"]) == ("taken: one", expected)
    assert drafts(out) == ["one"]


def test_a_title_alone_proves_no_paper(run: Command, replay: server.Replay) -> None:
    bare = {k: v for k, v in SPARSEGPT.items() if k not in ("arxiv", "authors")}
    assert "has neither identifier nor page; add url" in run([bare]).lines["sparsegpt"]
    elsewhere = bare | {"url": "https://example.org/sparsegpt"}
    assert "a title alone proves no paper" in run([elsewhere]).lines["sparsegpt"]
    assert replay.requests == []


def test_a_broken_record_does_not_stop_the_others(run: Command, out: Path) -> None:
    text = dumped([SPARSEGPT])
    done = run(f"- slug: foo\n  titel: Foo\n- arxiv: 2301.1\n{text}", "--offline")
    assert done.lines["foo"] == (
        "refused: foo; line 1: the field title is missing; add it, for example title: SparseGPT: "
        "Massive Language Models Can be Pruned in One-Shot; line 2: titel: is not a field of a "
        "record; did you mean title?"
    )
    assert "refused: record 2; line 3: " in done.lines["record 2"]
    assert drafts(out) == ["sparsegpt"]
    assert "3 records: 1 taken, 2 refused, 0 skipped\n  refused, no record: 2\n" in done.said
