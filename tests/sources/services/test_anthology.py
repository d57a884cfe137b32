"""ACL Anthology."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.sources.replay import Answer, Replay, stored
from tools.sources import errors
from tools.sources.client import Client
from tools.sources.lookup.queries import fetch
from tools.sources.names.references import Reference

Said = Callable[[str, dict[str, object]], dict[str, object]]

SAID = {
    "2025.findings-acl.1035": {
        "source": "ACL Anthology",
        "title": "ShortGPT: Layers in Large Language Models are More Redundant Than You Expect",
        "abstract": "Layers are scored by Block Influence, and 25% of them are removed.",
        "published": "2025-07",
        "year": 2025,
        "venue": "acl-findings",
        "track": "findings",
        "pages": "20192-20204",
        "ids": {
            "doi": "10.18653/v1/2025.findings-acl.1035",
            "anthology": "2025.findings-acl.1035",
        },
    },
    "https://aclanthology.org/2024.emnlp-main.775.pdf": {
        "venue": "emnlp",
        "track": "main",
        "authors": (
            "Jiateng Wei",
            "Quan Lu",
            "Ning Jiang",
            "Siqi Li",
            "Jingyang Xiang",
            "Jun Chen",
            "Yong Liu",
        ),
    },
    "2024.tacl-1.85": {"venue": "tacl", "track": "journal", "volume": "12", "published": "2024"},
    "2025.coling-main.626": {"venue": "coling", "ids": {"anthology": "2025.coling-main.626"}},
}


@pytest.mark.parametrize(("text", "expected"), SAID.items())
def test_parses_facts(text: str, expected: dict[str, object], said: Said) -> None:
    assert said(text, expected) == expected


class TestOddAnswers:
    def test_rejects_answer_about_another_paper(self, replay: Replay, client: Client) -> None:
        replay.say("aclanthology.org", stored("anthology/sobp.bib"))
        with pytest.raises(errors.AnotherPaper, match=r"answered about 2024.emnlp-main.775"):
            fetch(Reference("anthology", "2024.findings-acl.178"), client)

    def test_unknown_paper_is_not_found(self, client: Client) -> None:
        with pytest.raises(errors.NotFound, match=r"aclanthology.org has no /2099.acl-long.1.bib"):
            fetch(Reference("anthology", "2099.acl-long.1"), client)

    @pytest.mark.parametrize("body", [b"", b"@inproceedings{x,", b"<html>"])
    def test_rejects_text_without_entry(self, body: bytes, replay: Replay, client: Client) -> None:
        replay.say("aclanthology.org", Answer(body))
        with pytest.raises(errors.Malformed, match="ACL Anthology"):
            fetch(Reference("anthology", "2024.acl-long.1"), client)
