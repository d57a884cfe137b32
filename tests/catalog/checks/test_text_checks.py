"""Checks of names, summaries and abstracts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.catalog.invented import Change, assert_one_problem, messages
from tools.catalog.entries.abstracts import RUN, fingerprint, load, save

OWN = "scores a channel by how much flows through it over a little text"
"""The start of the summary of `river`."""
NAMES = [
    ('"Lovelace, Ada"', "authors[0]: 'Lovelace, Ada' contains a comma; write 'First Last'"),
    ("Ada et al.", "authors[0]: 'Ada et al.' is not a name; list all authors"),
    ("Lovelace", "authors[0]: 'Lovelace' is a single word; write the full name"),
    (
        "ADA LOVELACE",
        "authors[0]: 'ADA LOVELACE' is in capitals; write only the initials in capitals",
    ),
    ("A. K. Lovelace", None),
    ("Ada O'B", None),
    ("李 開復", None),
]


@pytest.mark.parametrize(("name", "problem"), NAMES)
def test_rejects_invalid_author_names(papers: Path, name: str, problem: str | None) -> None:
    path = papers / "river.yaml"
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"authors: \[[^]]*\]", "authors: [Ada Lovelace]", text)
    path.write_text(text, encoding="utf-8")
    assert_one_problem(papers, "authors: [Ada Lovelace]", f"authors: [{name}]", problem)


@pytest.mark.parametrize(
    ("summary", "problem"),
    [
        (
            "One. Two. Three. Four. " + "More words, " * 20 + "and five.",
            "has 5 sentences; write 2 to 4",
        ),
        (
            "Only one, which is long, " + "and long, " * 14 + "at last.",
            "has 1 sentence; write 2 to 4",
        ),
        ("Short. It is.", "has 3 words; write 25 to 90"),
        ("Long. It is " + "really " * 90 + "so.", "has 94 words; write 25 to 90"),
        ("At 2.5 bits it wins. " + "It keeps more, " * 8 + "to the end.", None),
    ],
)
def test_summary_has_two_to_four_sentences(papers: Path, summary: str, problem: str | None) -> None:
    path = papers / "brook.yaml"
    head, rest = path.read_text(encoding="utf-8").split("summary: >-")
    rest = rest[rest.index("\n\n") :]
    path.write_text(f'{head}summary: "{summary}"{rest}', encoding="utf-8")
    found = [line for line in messages(papers) if "canonical layout" not in line]
    if problem is None:
        assert found == []
    else:
        (one,) = found
        assert one.startswith(f"brook.yaml:5: summary: {problem}")


def test_advice_requires_more_than_the_abstract(papers: Path, change: Change) -> None:
    change("river", ("read: paper", "read: code"))
    assert not any("summary" in one for one in messages(papers))
    change("river", ("read: code", "read: abstract"))
    assert any(
        "summary: gives advice, but only the abstract was read" in one for one in messages(papers)
    )


def test_claims_require_tables_or_abstract(papers: Path, change: Change) -> None:
    change("river", ("read: paper", "read: code"))
    found = [line for line in messages(papers) if ": claims[" in line]
    assert len(found) == 2
    assert "claims[0]: is from Table 1, but only the code was read; remove it, or" in found[0]
    change("river", ("where: Table 1", "where: Abstract"))
    assert len([line for line in messages(papers) if ": claims[" in line]) == 1


def test_sources_require_read(papers: Path, change: Change) -> None:
    change("brook", ("  read: paper\n", ""))
    assert messages(papers) == [
        "brook.yaml:21: sources: has no `read`, which says how closely the paper was read;"
        " write abstract, code, tables or paper"
    ]


@pytest.mark.parametrize("said", ["prunes a river.", "Prunes a river"])
def test_taglines_are_sentences(papers: Path, change: Change, said: str) -> None:
    change("river", ("Prunes a river of weights down to a stream.", said))
    assert messages(papers) == [
        "river.yaml:9: tagline: must be a sentence;"
        " start with a capital letter and end with a full stop"
    ]


@pytest.mark.parametrize("owner", ["river", "brook"])
def test_detects_copied_abstracts(papers: Path, owner: str) -> None:
    """For the abstract of any entry, ignoring case and punctuation."""
    abstracts = papers.parent / "abstracts"
    words = OWN.split()
    save(owner, "We show, here: " + ", ".join(words[:RUN]).upper() + "; and more.", abstracts)
    (found,) = messages(papers)
    said = f"shares 8 words with the abstract of {owner}: '{' '.join(words[:8])}';"
    assert found.startswith(f"river.yaml:10: summary: {said}")
    save(owner, "We show here " + " ".join(words[: RUN - 1]) + " differently", abstracts)
    assert messages(papers) == []


def test_fingerprints_do_not_contain_the_text(papers: Path) -> None:
    abstracts = papers.parent / "abstracts"
    save("river", OWN, abstracts)
    kept = (abstracts / "river.txt").read_text(encoding="ascii")
    assert len(kept.split()) == len(OWN.split()) - RUN + 1
    assert not set(OWN.split()) & set(kept.split())
    assert load(abstracts) == {"river": frozenset(fingerprint(OWN))}
    save("brook", "Too short for any.", abstracts)
    assert not (abstracts / "brook.txt").exists()


def test_fingerprints_need_an_entry(papers: Path) -> None:
    save("nobody", " ".join(reversed(OWN.split())), papers.parent / "abstracts")
    (found,) = messages(papers)
    assert "nobody.txt:1: does not belong to an entry; name it <slug>.txt, or remove it" in found
