"""Unexpected values and markup in answers."""

from __future__ import annotations

import pytest

from tests.sources.replay import Replay, feed
from tools.sources.client import Client
from tools.sources.lookup.queries import fetch
from tools.sources.names.references import Reference

ARXIV = "export.arxiv.org"


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
