"""Entries held against sources and links, through the real clients and a local server."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from rich.console import Console

from tests.sources import server
from tools.catalog.entries import PAPERS, Entry, read_catalog
from tools.checking.online import links, sources
from tools.sources.web.client import Client, Limits

QUICK = Limits(connect=2, read=2, attempt=5)

Connect = Callable[..., Client]


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO())


@pytest.fixture
def flap(tmp_path: Path) -> Callable[..., Entry]:
    """Make the committed entry of FLAP, changed as asked."""

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
    """Make clients that pause as they should, on a clock that need not wait."""
    clock = server.clock_that_need_not_wait([])

    def make(cache: Path | None = None, *, reachable: bool = True) -> Client:
        hosts = replay.hosts if reachable else dict.fromkeys(replay.hosts, "http://127.0.0.1:1")
        return Client(cache, None, hosts, limits=QUICK, clock=clock)

    return make


def told(problems: Iterator[object]) -> list[str]:
    return [str(problem).partition("flap.yaml:")[2] for problem in problems]


def test_a_contradiction_is_an_error_at_its_line(
    flap: Callable[..., Entry], connect: Connect, console: Console
) -> None:
    title = "Fluctuation-Based Adaptive Structured Pruning for Large Language Models"
    wrong = flap((title, "Pruning Something Entirely Different by Other Means"))
    with connect() as client:
        found = told(sources([wrong], client, console))
    assert any(one.startswith("2: title: ") and title.lower() in one.lower() for one in found)


def test_answers_are_kept_so_that_a_stopped_check_goes_on(
    flap: Callable[..., Entry],
    connect: Connect,
    replay: server.Replay,
    console: Console,
    tmp_path: Path,
) -> None:
    entry = flap()
    with connect(tmp_path / "cache") as client:
        first = told(sources([entry], client, console))
    asked = len(replay.requests)
    with connect(tmp_path / "cache") as client:
        assert told(sources([entry], client, console)) == first
    assert first == []
    assert asked >= 2
    assert len(replay.requests) == asked


def test_a_dead_source_is_a_warning(
    flap: Callable[..., Entry], connect: Connect, console: Console
) -> None:
    with connect(reachable=False) as client:
        found = told(sources([flap()], client, console))
    assert found
    assert all(": warning: ids." in one for one in found)


def test_a_dead_link_is_a_warning_and_is_not_asked_for_twice(
    flap: Callable[..., Entry], console: Console, tmp_path: Path
) -> None:
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            asked.append(self.path)
            self.send_response(404 if self.path == "/gone" else 200)
            self.end_headers()

        do_GET = do_HEAD  # noqa: N815

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{running.server_port}"
        entry = flap(
            ("https://github.com/CASIA-IVA-Lab/FLAP", f"{base}/gone"),
            ("https://ojs.aaai.org/index.php/AAAI/article/view/28960", f"{base}/there"),
        )
        store = tmp_path / "links.jsonl"
        found = told(links([entry], "tests", store, console))
        running.shutdown()
    assert len(found) == 1
    assert ": warning: code[0].url: " in found[0]
    assert "/gone is dead" in found[0]
    assert told(links([entry], "tests", store, console)) == found
    assert {"/gone", "/there"} == set(asked)
