"""OpenReview."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.sources.replay import DATA, Answer, Replay, changed
from tools.sources import errors
from tools.sources.client import Client
from tools.sources.lookup.queries import fetch, search
from tools.sources.names.references import Reference
from tools.sources.services.facts import Facts
from tools.sources.services.openreview import OpenReview

Said = Callable[[str, dict[str, object]], dict[str, object]]

SAID = {
    "https://openreview.net/forum?id=PxoFut3dWW": {
        "source": "OpenReview",
        "title": "A Simple and Effective Pruning Approach for Large Language Models",
        "authors": ("Mingjie Sun", "Zhuang Liu", "Anna Bair", "J Zico Kolter"),
        "venue": "iclr",
        "track": "main",
        "year": 2024,
        "ids": {"openreview": "PxoFut3dWW"},
        "code": ("https://github.com/locuslab/wanda",),
    },
    "https://openreview.net/pdf?id=J8Ajf9WfXP": {"venue": "neurips", "year": 2023},
    "https://openreview.net/forum?id=ahEm3l2P6w": {"venue": "icml", "year": 2024},
    # For a journal, the year is that of publication.
    "https://openreview.net/forum?id=Qd7LzJBg21": {
        "venue": "tmlr",
        "track": "journal",
        "year": 2025,
    },
    # Only in version 1 of the API, whose values are not wrapped.
    "https://openreview.net/forum?id=invented01": {"venue": "iclr", "year": 2021},
}


@pytest.mark.parametrize(("text", "expected"), SAID.items())
def test_parses_facts(text: str, expected: dict[str, object], said: Said) -> None:
    assert said(text, expected) == expected


# Forums of submitted, withdrawn, rejected or imported papers.
@pytest.mark.parametrize("forum", ["f4b0YVwKUO", "FQ8KX1pxeo", "a8ruEUhpOv"])
def test_unaccepted_paper_is_a_preprint(forum: str, client: Client) -> None:
    facts = fetch(Reference("openreview", forum), client)
    assert facts.title
    assert (facts.venue, facts.track, facts.published) == (None, None, None)
    said = repr(facts).lower()
    assert not any(word in said for word in ("submitted to", "withdrawn", "reject", "iclr"))


class TestOddAnswers:
    def read(self, replay: Replay, client: Client, *path: str | int, to: object) -> Facts:
        answer = changed("openreview/wanda.json", "notes", 0, *path, to=to)
        replay.say("api2.openreview.net", answer)
        return fetch(Reference("openreview", "PxoFut3dWW"), client)

    @pytest.mark.parametrize(
        "venue",
        [
            "Submitted to ICLR 2024",
            "ICLR 2024 Conference Desk Rejected Submission",
            "ICLR 2024",
            None,
        ],
    )
    def test_only_accepted_papers_have_a_venue(
        self, venue: str | None, replay: Replay, client: Client
    ) -> None:
        facts = self.read(replay, client, "content", "venue", to={"value": venue})
        assert (facts.venue, facts.notes) == (None, ())

    def test_rejected_group_overrides_decision_words(self, replay: Replay, client: Client) -> None:
        to = {"value": "ICLR.cc/2024/Conference/Rejected_Submission"}
        assert self.read(replay, client, "content", "venueid", to=to).venue is None

    def test_rejects_comments(self, replay: Replay, client: Client) -> None:
        with pytest.raises(errors.AnotherPaper, match=r"about the forum other; use that one"):
            self.read(replay, client, "forum", to="other")

    def test_anonymous_authors_are_omitted(self, replay: Replay, client: Client) -> None:
        to = {"value": ["Anonymous"]}
        assert self.read(replay, client, "content", "authors", to=to).authors == ()

    def test_rejects_deleted_note(self, replay: Replay, client: Client) -> None:
        with pytest.raises(errors.Malformed, match="its record has no title"):
            self.read(replay, client, "content", to={})

    def test_queries_both_api_versions(self, replay: Replay, client: Client) -> None:
        replay.say("api2.openreview.net", Answer(b'{"name": "Error"}', status=403))
        facts = fetch(Reference("openreview", "invented01"), client)
        assert facts.title == "An Invented Record of the First Version"

    def test_unknown_paper_is_not_found(self, client: Client) -> None:
        with pytest.raises(errors.NotFound, match="OpenReview has no public paper nowhere123"):
            fetch(Reference("openreview", "nowhere123"), client)

    def test_search_returns_accepted_papers_workshops_last(
        self, replay: Replay, client: Client
    ) -> None:
        body = json.loads((DATA / "openreview" / "wanda.json").read_text(encoding="utf-8"))
        (main,) = body["notes"]
        workshop = {**main, "id": "w" * 10, "forum": "w" * 10}
        workshop["content"] = {**main["content"], "venue": {"value": "ICML 2023 Workshop Poster"}}
        withdrawn = {**main, "id": "x" * 10, "forum": "x" * 10}
        withdrawn["content"] = {**main["content"], "venue": {"value": "Submitted to ICLR 2024"}}
        comment = {**main, "id": "y" * 10}
        body["notes"] = [workshop, withdrawn, comment, main]
        replay.say("api2.openreview.net", Answer(json.dumps(body).encode()))
        found = search(OpenReview(), "any", client)
        assert [(facts.venue, facts.track) for facts in found] == [
            ("iclr", "main"),
            ("icml", "workshop"),
        ]
