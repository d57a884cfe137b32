"""Unexpected values and markup in answers."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.sources.server import DATA, Answer, Replay, feed
from tools.catalog.schema.field_types import text_problems
from tools.sources.lookup.queries import fetch, search
from tools.sources.names.references import Reference
from tools.sources.services.dblp import Dblp
from tools.sources.services.facts import Facts
from tools.sources.web.client import Client
from tools.sources.web.errors import SourceError

ARXIV = "export.arxiv.org"
ODD = (None, "\u202e<b>{\x1b[2J\n", [None], {"value": -1})
SURVEY = "A Survey on Model Compression for Large Language Models"

CASES: dict[str, tuple[str, str, Callable[[Client], list[Facts]]]] = {
    "crossref": (
        "api.crossref.org",
        "crossref/shortgpt.json",
        lambda client: [fetch(Reference("doi", "10.18653/v1/2025.findings-acl.1035"), client)],
    ),
    "openreview": (
        "api2.openreview.net",
        "openreview/wanda.json",
        lambda client: [fetch(Reference("openreview", "PxoFut3dWW"), client)],
    ),
    "openreview, first version": (
        "api.openreview.net",
        "openreview/invented.json",
        lambda client: [fetch(Reference("openreview", "invented01"), client)],
    ),
    "dblp": ("dblp.org", "dblp/survey.json", lambda client: search(Dblp(), SURVEY, client)),
}


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the path of every value, of lists only the first item."""
    inner = value.items() if isinstance(value, dict) else ()
    inner = list(enumerate(value))[:1] if isinstance(value, list) else inner
    for key, below in inner:
        yield (*path, key)
        yield from places(below, (*path, key))


def what_is_said(ask: Callable[[Client], list[Facts]], client: Client) -> tuple[str, list[str]]:
    """Return `facts` or `error`, and the invalid texts in it."""
    try:
        found = ask(client)
    except SourceError as error:
        return "error", [] if str(error).isprintable() else [str(error)]
    texts = [(*facts.notes, *facts.authors, facts.title or "") for facts in found]
    return "facts", [text for each in texts for text in each if list(text_problems(text))]


@pytest.mark.parametrize("case", CASES)
def test_unexpected_values_give_facts_or_errors(case: str, replay: Replay, client: Client) -> None:
    host, name, ask = CASES[case]
    whole = json.loads((DATA / name).read_text(encoding="utf-8"))
    assert ask(client), "the answer as it is"
    outcomes = set()
    for path in places(whole):
        for odd in ODD:
            body = copy.deepcopy(whole)
            inner = body
            for step in path[:-1]:
                inner = inner[step]
            inner[path[-1]] = odd
            replay.say(host, Answer(json.dumps(body).encode()))
            outcome, hidden = what_is_said(ask, client)
            outcomes.add(outcome)
            assert hidden == [], (path, odd)
    assert outcomes == {"facts", "error"}


@pytest.mark.parametrize(
    ("written", "title"),
    [
        ("Sparse&lt;i&gt;GPT&lt;/i&gt; &amp;amp; others", "SparseGPT & others"),
        ("&lt;script&gt;alert(1)&lt;/script&gt;Sparse", "alert(1)Sparse"),
        ("Pruning \u202eat\u202c 50\u200b\u00ad%", "Pruning at 50%"),
        ("Pruning\u2028at\u00a050 %", "Pruning at 50 %"),
        (r"Pr{\"u}ning with $\ell_0$ norms", "Prüning with ℓ_0 norms"),
        ("Pru\u0308ning", "Prüning"),
        ("Sparsity &lt; 50 % and &gt; 20 %", "Sparsity < 50 % and > 20 %"),
    ],
)
def test_removes_markup_and_hidden_characters(
    written: str, title: str, replay: Replay, client: Client
) -> None:
    replay.say(ARXIV, feed(Massive=written))
    found = fetch(Reference("arxiv", "2301.00774"), client)
    rest = "Language Models Can Be Accurately Pruned in One-Shot"
    assert found.title == f"SparseGPT: {title} {rest}"


def test_notes_removed_markup(replay: Replay, client: Client) -> None:
    replay.say(ARXIV, feed(Massive="&lt;b&gt;Massive&lt;/b&gt;"))
    (note,) = fetch(Reference("arxiv", "2301.00774"), client).notes
    assert note == "markup or hidden characters were removed from the title of arXiv"
    replay.say(ARXIV, feed(Massive="Massive &amp;amp; &lt; 50 %"))
    assert fetch(Reference("arxiv", "2301.00774"), client).notes == ()
