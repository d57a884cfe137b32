"""Crossref."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.sources.replay import Replay, changed
from tools.sources import errors
from tools.sources.client import Client
from tools.sources.lookup.queries import fetch
from tools.sources.names.references import Reference
from tools.sources.services.facts import Facts

Said = Callable[[str, dict[str, object]], dict[str, object]]

SAID = {
    "10.1609/aaai.v38i10.28960": {
        "source": "Crossref",
        "title": "Fluctuation-Based Adaptive Structured Pruning for Large Language Models",
        "authors": ("Yongqi An", "Xu Zhao", "Tao Yu", "Ming Tang", "Jinqiao Wang"),
        "abstract": "Structured pruning without retraining.",
        "published": "2024-03-24",
        "year": 2024,
        "venue": "aaai",
        "track": "main",
        "volume": "38",
        "number": "10",
        "pages": "10865-10873",
        "ids": {"doi": "10.1609/aaai.v38i10.28960"},
    },
    "10.1609/aaai.v39i23.34592": {"number": "23", "pages": "24167-24175", "year": 2025},
    "https://direct.mit.edu/tacl/article/doi/10.1162/tacl_a_00704/125482": {
        "venue": "tacl",
        "track": "journal",
        "published": "2024",
        "volume": "12",
    },
    "10.18653/v1/2025.findings-acl.1035": {
        "venue": "acl-findings",
        "track": "findings",
        "ids": {
            "doi": "10.18653/v1/2025.findings-acl.1035",
            "anthology": "2025.findings-acl.1035",
        },
    },
}


@pytest.mark.parametrize(("text", "expected"), SAID.items())
def test_parses_facts(text: str, expected: dict[str, object], said: Said) -> None:
    assert said(text, expected) == expected


class TestOddAnswers:
    def read(self, replay: Replay, client: Client, *path: str | int, to: object) -> Facts:
        replay.say("api.crossref.org", changed("crossref/flap.json", "message", *path, to=to))
        return fetch(Reference("doi", "10.1609/aaai.v38i10.28960"), client)

    def test_rejects_answer_about_another_paper(self, replay: Replay, client: Client) -> None:
        with pytest.raises(errors.AnotherPaper, match=r"answered about 10.1/other; use that one"):
            self.read(replay, client, "DOI", to="10.1/other")

    def test_ignores_case_of_dois(self, replay: Replay, client: Client) -> None:
        facts = self.read(replay, client, "DOI", to="10.1609/AAAI.v38i10.28960")
        assert facts.ids == {"doi": "10.1609/aaai.v38i10.28960"}

    @pytest.mark.parametrize("title", [[], ...])
    def test_rejects_missing_title(self, title: object, replay: Replay, client: Client) -> None:
        with pytest.raises(errors.Malformed, match="its record has no title"):
            self.read(replay, client, "title", to=title)

    @pytest.mark.parametrize(
        ("parts", "published", "year"),
        [
            ([[2024]], "2024", 2024),
            ([[2024, 3]], "2024-03", 2024),
            ([[2024, 13, 1]], "2024", 2024),
            ([[None]], None, None),
            ([], None, None),
        ],
    )
    def test_parses_partial_dates(
        self, parts: object, published: str, year: int, replay: Replay, client: Client
    ) -> None:
        facts = self.read(replay, client, "issued", to={"date-parts": parts})
        assert (facts.published, facts.year) == (published, year)

    def test_preprint_server_is_not_a_venue(self, replay: Replay, client: Client) -> None:
        facts = self.read(replay, client, "type", to="posted-content")
        assert (facts.venue, facts.notes) == (None, ())

    def test_notes_unknown_venue(self, replay: Replay, client: Client) -> None:
        facts = self.read(replay, client, "container-title", to=["Journal of Pruning"])
        assert facts.venue is None
        assert facts.notes == (
            "Crossref has the venue 'Journal of Pruning', "
            "for which vocabulary/venues.yaml has no term",
        )

    def test_parses_people_and_organisations(self, replay: Replay, client: Client) -> None:
        people = [
            {"family": "Madonna"},
            {"given": "Martin Luther", "family": "King", "suffix": "Jr."},
            {"name": "The Pruning Team"},
        ]
        facts = self.read(replay, client, "author", to=people)
        assert facts.authors == ("Madonna", "Martin Luther King Jr.", "The Pruning Team")

    def test_ignores_impossible_years(self, replay: Replay, client: Client) -> None:
        facts = self.read(replay, client, "issued", to={"date-parts": [[1492, 1, 1]]})
        assert (facts.year, facts.published) == (None, None)

    def test_rejects_invalid_numbers(self, replay: Replay, client: Client) -> None:
        with pytest.raises(errors.Malformed, match=r"the volume of Crossref contains Markdown"):
            self.read(replay, client, "volume", to="**8**")

    def test_joins_subtitle_with_colon(self, replay: Replay, client: Client) -> None:
        assert str(self.read(replay, client, "subtitle", to=["A Sub"]).title).endswith(
            "dels: A Sub"
        )
