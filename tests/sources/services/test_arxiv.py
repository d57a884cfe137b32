"""arXiv."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.sources.replay import Answer, Replay, feed, stored
from tools.sources import errors
from tools.sources.client import Client
from tools.sources.lookup.queries import fetch, search
from tools.sources.names.references import Reference
from tools.sources.services.arxiv import Arxiv

Said = Callable[[str, dict[str, object]], dict[str, object]]

SAID = {
    "2301.00774": {
        "source": "arXiv",
        "title": "SparseGPT: Massive Language Models Can Be Accurately Pruned in One-Shot",
        "authors": ("Elias Frantar", "Dan Alistarh"),
        "submitted": "2023-01-02",
        "year": 2023,
        "venue": None,
        "ids": {"arxiv": "2301.00774"},
        "code": ("https://github.com/IST-DASLab/sparsegpt",),
    },
    "2312.11983": {
        "submitted": "2023-12-19",
        "ids": {"arxiv": "2312.11983", "doi": "10.1609/aaai.v38i10.28960"},
        "venue": None,
        "comment": "Accepted to AAAI 2024",
    },
    "cs/0601001": {"submitted": "2006-01-01", "ids": {"arxiv": "cs/0601001"}},
    "math.GT/0309136": {"authors": ("Emmy Example", "Carl Example"), "year": 2003},
}


@pytest.mark.parametrize(("text", "expected"), SAID.items())
def test_parses_facts(text: str, expected: dict[str, object], said: Said) -> None:
    assert said(text, expected) == expected


ENTITY = b'<!DOCTYPE feed [<!ENTITY x SYSTEM "file:///etc/passwd">]><feed>&x;</feed>'
NO_ID = feed(**{"<id>http://arxiv.org/abs/2301.00774v3</id>": "<id>urn:x</id>"})
TROUBLE = [
    (stored("arxiv/error.xml"), errors.NotFound, "rejects the request .incorrect id format for 23"),
    (stored("arxiv/empty.xml"), errors.NotFound, "arXiv has no paper 2301.00774"),
    (stored("arxiv/wanda.xml"), errors.AnotherPaper, "2301.00774 and answered about 2306.11695"),
    (NO_ID, errors.Malformed, "no arXiv identifier"),
    (feed(published="publi"), errors.Malformed, "lacks identifier, title or date"),
    (Answer(ENTITY), errors.Malformed, "it is not valid XML"),
    (Answer(b"<p>Sorry"), errors.Malformed, "it is not valid XML"),
    (feed(Massive="&lt;script src="), errors.Malformed, "the title of arXiv contains HTML"),
    (feed(Massive="Massive " * 100), errors.Malformed, "title of arXiv has 863 characters, more"),
    (feed(Massive="{" * 5000), errors.Malformed, "is invalid LaTeX; write it as plain text"),
]


@pytest.mark.parametrize(("answer", "kind", "message"), TROUBLE)
def test_rejects_invalid_answers(
    answer: Answer, kind: type, message: str, replay: Replay, client: Client
) -> None:
    replay.say("export.arxiv.org", answer)
    with pytest.raises(errors.SourceError, match=message) as caught:
        fetch(Reference("arxiv", "2301.00774"), client)
    assert type(caught.value) is kind


def test_search_uses_only_words(replay: Replay, client: Client) -> None:
    (found,) = search(
        Arxiv(), "SparseGPT: Massive Language Models Can be Accurately Pruned in One-Shot", client
    )
    assert found.ids == {"arxiv": "2301.00774"}
    assert search(Arxiv(), 'A "quoted" (title) AND au:x', client) == []
    assert 'ti:"A quoted title AND au x"' in replay.requests[-1].path
