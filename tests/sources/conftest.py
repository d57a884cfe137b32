"""The replayed sources, and a client that does not wait."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import pytest

from tests.sources.replay import Replay
from tools.sources.client import Client
from tools.sources.lookup.identification import identify
from tools.sources.lookup.queries import fetch


@pytest.fixture
def replay(monkeypatch: pytest.MonkeyPatch) -> Replay:
    return Replay(monkeypatch)


@pytest.fixture
def client(replay: Replay) -> Iterator[Client]:
    with Client(None) as opened:
        yield opened


@pytest.fixture
def said(client: Client) -> Callable[[str, Iterable[str]], dict[str, object]]:
    """Look up a text; return some of the facts by name."""

    def ask(text: str, names: Iterable[str]) -> dict[str, object]:
        facts = fetch(identify(text), client)
        return {name: getattr(facts, name) for name in names}

    return ask
