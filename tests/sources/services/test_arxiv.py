"""arXiv."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.sources.server import Answer, Replay, feed, stored
from tools.sources.lookup.identification import identify
from tools.sources.lookup.queries import fetch, search
from tools.sources.names.references import Reference
from tools.sources.services.arxiv import Arxiv
from tools.sources.web import errors
from tools.sources.web.client import Client

Said = Callable[[str, dict[str, object]], dict[str, object]]

ARXIV = "export.arxiv.org"

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
        "notes": (),
    },
    "2312.11983": {
        "submitted": "2023-12-19",
        "ids": {"arxiv": "2312.11983", "doi": "10.1609/aaai.v38i10.28960"},
        "venue": None,
        "comment": "Accepted to AAAI 2024",
    },
    "2310.05175": {"code": ("https://github.com/luuyin/OWL",)},
    "cs/0601001": {"submitted": "2006-01-01", "ids": {"arxiv": "cs/0601001"}},
    "math.GT/0309136": {"authors": ("Emmy Example", "Carl Example"), "year": 2003},
}


@pytest.mark.parametrize(("text", "expected"), SAID.items())
def test_parses_facts(text: str, expected: dict[str, object], said: Said) -> None:
    assert said(text, expected) == expected


def test_notes_requested_older_version(client: Client) -> None:
    facts = fetch(identify("https://arxiv.org/abs/2301.00774v1"), client)
    assert facts.notes == ("the facts are from version 3 on arXiv, not from version 1",)
    assert fetch(identify("2301.00774v3"), client).notes == ()


def laughs() -> Answer:
    levels = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    head = f'<?xml version="1.0"?><!DOCTYPE feed [<!ENTITY l0 "ha">{levels}]>'
    return Answer(f"{head}<feed>&l9;</feed>".encode(), "application/atom+xml")


OUTSIDE = b'<!DOCTYPE feed [<!ENTITY x SYSTEM "file:///etc/passwd">]><feed>&x;</feed>'
ERROR = stored("arxiv/error.xml")

TROUBLE = {
    "error under 200": (
        ERROR,
        errors.NotFound,
        "rejects the request .incorrect id format for 2301",
    ),
    "error under 400": (ERROR._replace(status=400), errors.NotFound, "rejects the request .incorr"),
    "400 without a reason": (
        stored("arxiv/sparsegpt.xml", status=400),
        errors.NotFound,
        r"rejects the request \(HTTP 400\)",
    ),
    "empty result": (stored("arxiv/empty.xml"), errors.NotFound, "arXiv has no paper 2301.00774"),
    "another paper": (
        stored("arxiv/wanda.xml"),
        errors.AnotherPaper,
        "was asked for 2301.00774 and answered about 2306.11695",
    ),
    "no identifier": (
        feed(**{"<id>http://arxiv.org/abs/2301.00774v3</id>": "<id>urn:x</id>"}),
        errors.Malformed,
        "no arXiv identifier",
    ),
    "no date": (feed(published="publi"), errors.Malformed, "lacks identifier, title or date"),
    "billion laughs": (laughs(), errors.Malformed, "it is not valid XML"),
    "external entity": (
        Answer(OUTSIDE, "text/xml"),
        errors.Malformed,
        "it is not valid XML",
    ),
    "truncated XML": (
        Answer(ERROR.body[:300], "application/atom+xml"),
        errors.Malformed,
        "it is not valid XML",
    ),
    "bad encoding": (
        Answer(b'<?xml version="1.0" encoding="utf-8"?><feed>\xff</feed>', "text/xml"),
        errors.Malformed,
        "it is not valid XML",
    ),
    "control characters": (feed(Massive="Mas\x07sive"), errors.Malformed, "it is not valid XML"),
    "open markup": (
        feed(Massive="&lt;script src="),
        errors.Malformed,
        "the title of arXiv contains HTML",
    ),
    "long title": (
        feed(Massive="Massive " * 100),
        errors.Malformed,
        "the title of arXiv has 863 characters, more than 300",
    ),
    "LaTeX without end": (
        feed(Massive="{" * 5000),
        errors.Malformed,
        "is invalid LaTeX; write it as plain text",
    ),
    "HTML": (Answer(b"<p>Sorry", "text/html"), errors.Malformed, "sent text/html instead of XML"),
}


@pytest.mark.parametrize("case", TROUBLE)
def test_rejects_invalid_answers(case: str, replay: Replay, client: Client) -> None:
    answer, kind, message = TROUBLE[case]
    replay.say(ARXIV, answer)
    with pytest.raises(errors.SourceError, match=message) as caught:
        fetch(Reference("arxiv", "2301.00774"), client)
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)


def test_keeps_order_of_three_thousand_authors(replay: Replay, client: Client) -> None:
    names = [f"Author{'abcdefghij'[n % 10]} Number{n}x" for n in range(3000)]
    listed = "".join(f"<author><name>{name}</name></author>" for name in names)
    replay.say(ARXIV, feed(**{"  </entry>": f"{listed}</entry>"}))
    authors = fetch(Reference("arxiv", "2301.00774"), client).authors
    assert authors == ("Elias Frantar", "Dan Alistarh", *names)


def test_search_uses_only_words(replay: Replay, client: Client) -> None:
    (found,) = search(
        Arxiv(), "SparseGPT: Massive Language Models Can be Accurately Pruned in One-Shot", client
    )
    assert found.ids == {"arxiv": "2301.00774"}
    assert search(Arxiv(), 'A "quoted" (title) AND au:x', client) == []
    assert 'ti:"A quoted title AND au x"' in replay.requests[-1].path
