"""A server that replays the sources, and a client that does not wait."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.sources import server
from tools.sources.web.client import Client, Limits


@pytest.fixture
def replay() -> Iterator[server.Replay]:
    with server.replaying() as running:
        yield running


@pytest.fixture
def slept() -> list[float]:
    """The seconds that a client would sleep."""
    return []


@pytest.fixture
def connect(
    replay: server.Replay, slept: list[float], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Client]]:
    """Return clients of the replaying server, with short limits by default."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    opened: list[Client] = []

    def make(
        cache: Path | None = None,
        contact: str | None = None,
        hosts: dict[str, str] | None = None,
        **limits: float,
    ) -> Client:
        quick = {"connect": 2.0, "read": 2.0, "attempt": 5.0} | limits
        client = Client(
            cache, contact, hosts or replay.hosts, limits=Limits(**quick), sleep=slept.append
        )
        opened.append(client.__enter__())
        return client

    yield make
    for client in opened:
        client.__exit__(None, None, None)


@pytest.fixture
def client(connect: Callable[..., Client]) -> Client:
    return connect()
