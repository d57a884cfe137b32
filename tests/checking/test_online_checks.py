"""Comparison of entries with their sources, with the real client and a local server."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rich.console import Console

from tests.sources import server
from tools.catalog.entries.loader import PAPERS, Entry, read_catalog
from tools.checking.online_checks import source_problems
from tools.sources.web.client import Client, Limits

QUICK = Limits(connect=2, read=2, attempt=5)

Connect = Callable[..., Client]


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO())


@pytest.fixture
def flap(tmp_path: Path) -> Callable[..., Entry]:
    """Return the entry of FLAP with some texts replaced."""

    def make(*changes: tuple[str, str]) -> Entry:
        text = (PAPERS / "flap.yaml").read_text(encoding="utf-8")
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new, 1)
        folder = tmp_path / "papers"
        folder.mkdir(exist_ok=True)
        (folder / "flap.yaml").write_text(text, encoding="utf-8")
        return read_catalog(folder).entries["flap"]

    return make


@pytest.fixture
def replay(monkeypatch: pytest.MonkeyPatch) -> Iterator[server.Replay]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with server.replaying() as running:
        yield running


@pytest.fixture
def connect(replay: server.Replay) -> Connect:
    """Return clients that do not wait between requests."""

    def make(cache: Path | None = None, *, reachable: bool = True) -> Client:
        hosts = replay.hosts if reachable else dict.fromkeys(replay.hosts, "http://127.0.0.1:1")
        return Client(cache, None, hosts, limits=QUICK, sleep=[].append)

    return make


def told(problems: Iterator[object]) -> list[str]:
    return [str(problem).partition("flap.yaml:")[2] for problem in problems]


def test_contradiction_is_an_error(
    flap: Callable[..., Entry], connect: Connect, console: Console
) -> None:
    title = "Fluctuation-Based Adaptive Structured Pruning for Large Language Models"
    wrong = flap((title, "Pruning Something Entirely Different by Other Means"))
    with connect() as client:
        found = told(source_problems([wrong], client, console))
    assert any(one.startswith("2: title: ") and title.lower() in one.lower() for one in found)


def test_caches_answers(
    flap: Callable[..., Entry],
    connect: Connect,
    replay: server.Replay,
    console: Console,
    tmp_path: Path,
) -> None:
    entry = flap()
    with connect(tmp_path / "cache") as client:
        first = told(source_problems([entry], client, console))
    asked = len(replay.requests)
    with connect(tmp_path / "cache") as client:
        assert told(source_problems([entry], client, console)) == first
    assert first == []
    assert asked >= 2
    assert len(replay.requests) == asked


def test_unreachable_source_is_a_warning(
    flap: Callable[..., Entry], connect: Connect, console: Console
) -> None:
    with connect(reachable=False) as client:
        found = told(source_problems([flap()], client, console))
    assert found
    assert all(": warning: ids." in one for one in found)
