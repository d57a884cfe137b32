"""A server that replays the sources, a client that asks it, and a clock that need not wait."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.sources import server
from tools.sources.web.client import Client, Limits


@pytest.fixture
def replay() -> Iterator[server.Replay]:
    with server.replaying() as running:
        yield running


@pytest.fixture
def clock() -> SimpleNamespace:
    """A clock whose `slept` counts the seconds that were slept without sleeping."""
    slept: list[float] = []
    return SimpleNamespace(slept=slept, clock=server.clock_that_need_not_wait(slept))


@pytest.fixture
def connect(
    replay: server.Replay, clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Client]]:
    """Make clients of the replaying server, of no patience unless asked for."""
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
            cache, contact, hosts or replay.hosts, limits=Limits(**quick), clock=clock.clock
        )
        opened.append(client.__enter__())
        return client

    yield make
    for client in opened:
        client.__exit__(None, None, None)


@pytest.fixture
def client(connect: Callable[..., Client]) -> Client:
    return connect()
