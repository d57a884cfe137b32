"""Semantic Scholar: what it says right, and what it may say wrong."""

from __future__ import annotations

import pytest

from tests.sources.server import Answer, Replay, stored
from tools.sources.lookup.queries import ask
from tools.sources.names.references import Reference
from tools.sources.services.semantic_scholar import SemanticScholar
from tools.sources.web import errors
from tools.sources.web.client import Client


class TestSemanticScholar:
    def test_what_it_says(self, client: Client) -> None:
        facts = ask(SemanticScholar(), Reference("arxiv", "2312.11983"), client)
        assert (facts.venue, facts.year) == ("aaai", 2023)
        assert facts.ids == {"arxiv": "2312.11983", "doi": "10.1609/aaai.v38i10.28960"}
        facts = ask(SemanticScholar(), Reference("arxiv", "2301.00774"), client)
        assert (facts.venue, facts.ids) == ("icml", {"arxiv": "2301.00774"})

    def test_another_paper(self, replay: Replay, client: Client) -> None:
        replay.say("api.semanticscholar.org", stored("semantic_scholar/flap.json"))
        with pytest.raises(errors.AnotherPaper, match=r"answered about 2312.11983"):
            ask(SemanticScholar(), Reference("arxiv", "2301.00774"), client)

    def test_unknown_and_empty(self, replay: Replay, client: Client) -> None:
        body = b'{"error": "Paper with id ARXIV:1 not found"}'
        replay.say("api.semanticscholar.org", Answer(body, status=404), Answer(b"{}"))
        with pytest.raises(errors.NotFound):
            ask(SemanticScholar(), Reference("arxiv", "2301.00774"), client)
        with pytest.raises(errors.Malformed, match="no title"):
            ask(SemanticScholar(), Reference("arxiv", "2301.00774"), client)
