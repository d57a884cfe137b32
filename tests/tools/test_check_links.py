"""Links asked for over real connections: a server of our own that answers as others do."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import pytest

from tools.catalog.paper import Paper
from tools.catalog.writer import render
from tools.links.checking import Checker, Limits
from tools.links.report import as_json, as_markdown, as_text, uses
from tools.links.result import Result, State, Store

ROOT = Path(__file__).resolve().parents[2]
QUICK = Limits(pause=0.0, backoff=0.0, timeout=60.0, patience=5.0)
Answers = dict[str, Callable[["Handler"], None]]


class Handler(BaseHTTPRequestHandler):
    """Answers by path, and keeps what it was asked for."""

    answers: ClassVar[Answers]
    asked: ClassVar[list[tuple[str, str, float]]]

    def do_HEAD(self) -> None:
        self.asked.append((self.command, self.path, time.monotonic()))
        self.answers.get(self.path, status(404))(self)

    do_GET = do_HEAD  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, code: int, **headers: str) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", "0")
        self.end_headers()


def status(code: int, **headers: str) -> Callable[[Handler], None]:
    return lambda handler: handler.answer(code, **headers)


def in_turn(*answers: Callable[[Handler], None]) -> Callable[[Handler], None]:
    left = list(answers)
    return lambda handler: (left.pop(0) if len(left) > 1 else left[0])(handler)


class Server:
    """A server on a port of its own; `answers` can be changed while it runs."""

    def __init__(self) -> None:
        self.answers: Answers = {}
        self.asked: list[tuple[str, str, float]] = []
        handler = type("Here", (Handler,), {"answers": self.answers, "asked": self.asked})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    @property
    def verbs(self) -> list[str]:
        return [f"{verb} {path}" for verb, path, _ in self.asked]


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.fixture
def other() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


def check(*urls: str, limits: Limits = QUICK) -> list[Result]:
    async def run() -> list[Result]:
        results: list[Result] = []
        async with Checker("atlas-test", limits) as checker:
            await checker.check(urls, results.append)
        return results

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("answer", "state", "detail"),
    [
        (status(200), State.OK, ""),
        (status(204), State.OK, ""),
        (status(404), State.DEAD, "HTTP 404"),
        (status(410), State.DEAD, "HTTP 410"),
        (status(401), State.BLOCKED, "HTTP 401"),
        (status(403), State.BLOCKED, "HTTP 403"),
        (status(429), State.BLOCKED, "HTTP 429"),
        (status(451), State.BLOCKED, "HTTP 451"),
        (status(500), State.UNREACHABLE, "HTTP 500"),
        (status(503), State.UNREACHABLE, "HTTP 503"),
        (status(503, cf_mitigated="challenge"), State.BLOCKED, "HTTP 503"),
        (status(302, location="/captcha?x=1"), State.BLOCKED, "leads to a page for people"),
        (status(302, location="/login"), State.BLOCKED, "leads to a page for people"),
        (status(302, location="file:///etc/passwd"), State.DEAD, "no web address"),
        (status(302, location="http://["), State.DEAD, "redirects to no address"),
        (status(302, location="/page"), State.DEAD, "redirects without end"),
    ],
)
def test_an_answer_is_judged(
    answer: Callable[[Handler], None], state: State, detail: str, server: Server
) -> None:
    server.answers["/page"] = answer
    (result,) = check(f"{server.url}/page")
    assert result.state is state
    assert detail in result.detail
    assert result.checked


def test_only_the_head_is_asked_for_where_that_is_enough(server: Server) -> None:
    server.answers["/page"] = status(200)
    check(f"{server.url}/page")
    assert server.verbs == ["HEAD /page"]


def test_the_page_is_asked_for_where_the_head_is_refused(server: Server) -> None:
    server.answers["/page"] = lambda handler: handler.answer(
        200 if handler.command == "GET" else 405
    )
    (result,) = check(f"{server.url}/page")
    assert result.state is State.OK
    assert server.verbs == ["HEAD /page", "GET /page"]


def test_the_page_is_asked_for_where_the_head_breaks_off(server: Server) -> None:
    def answer(handler: Handler) -> None:
        if handler.command == "HEAD":
            handler.connection.shutdown(socket.SHUT_RDWR)
        else:
            handler.answer(200)

    server.answers["/page"] = answer
    (result,) = check(f"{server.url}/page")
    assert result.state is State.OK


@pytest.mark.parametrize(("first", "moved"), [(301, True), (308, True), (302, False), (307, False)])
def test_a_page_that_moved_for_good_to_another_host_says_where_to(
    first: int, moved: bool, server: Server, other: Server
) -> None:
    server.answers["/old"] = status(first, location=f"{other.url}/new")
    other.answers["/new"] = status(302, location="/today")
    other.answers["/today"] = status(301, location="/end")
    other.answers["/end"] = status(200)
    (result,) = check(f"{server.url}/old")
    # What redirects for a while only is no new address.
    expected = (State.MOVED, f"{other.url}/new") if moved else (State.OK, "")
    assert (result.state, result.detail) == expected


def test_a_page_that_moved_to_nowhere_is_dead(server: Server) -> None:
    server.answers["/old"] = status(301, location="/new")
    (result,) = check(f"{server.url}/old")
    assert result.state is State.DEAD


def test_too_many_redirects_are_dead(server: Server) -> None:
    for step in range(20):
        server.answers[f"/{step}"] = status(302, location=f"/{step + 1}")
    (result,) = check(f"{server.url}/0")
    assert (result.state, result.detail) == (State.DEAD, "redirects without end")
    assert len(server.asked) == QUICK.redirects + 1


def test_an_error_that_passes_is_asked_again(server: Server) -> None:
    server.answers["/page"] = in_turn(status(500), status(500), status(429), status(200))
    (result,) = check(f"{server.url}/page")
    assert result.state is State.OK


def test_a_server_that_asks_for_patience_gets_it(server: Server) -> None:
    server.answers["/page"] = in_turn(status(429, retry_after="1"), status(200))
    (result,) = check(f"{server.url}/page")
    assert result.state is State.OK
    (*_, first), (*_, second) = server.asked
    assert second - first >= 1.0


def test_more_patience_than_there_is_ends_it_at_once(server: Server) -> None:
    server.answers["/page"] = status(429, retry_after="3600")
    (result,) = check(f"{server.url}/page")
    assert (result.state, len(server.asked)) == (State.BLOCKED, 1)


def test_a_server_that_does_not_answer_is_unreachable(server: Server) -> None:
    server.answers["/page"] = lambda _: time.sleep(0.4)
    limits = Limits(pause=0.0, backoff=0.0, timeout=0.1, attempts=2)
    (result,) = check(f"{server.url}/page", limits=limits)
    assert (result.state, result.detail) == (State.UNREACHABLE, "no answer in time")


def test_a_head_that_trickles_is_unreachable(server: Server) -> None:
    def trickle(handler: Handler) -> None:
        for _ in range(20):
            handler.wfile.write(b"H")
            time.sleep(0.05)

    server.answers["/page"] = trickle
    limits = Limits(pause=0.0, backoff=0.0, timeout=0.2, attempts=1)
    (result,) = check(f"{server.url}/page", limits=limits)
    assert (result.state, result.detail) == (State.UNREACHABLE, "no answer in time")


def test_a_page_for_people_is_not_asked_for_again(server: Server) -> None:
    server.answers["/page"] = status(503, cf_mitigated="challenge")
    check(f"{server.url}/page")
    assert server.verbs == ["HEAD /page", "GET /page"]


def test_a_body_is_not_read(server: Server) -> None:
    def endless(handler: Handler) -> None:
        handler.send_response(405 if handler.command == "HEAD" else 200)
        handler.send_header("Content-Length", str(10**12))
        handler.end_headers()

    server.answers["/page"] = endless
    (result,) = check(f"{server.url}/page")
    assert result.state is State.OK


def test_a_host_that_is_down_is_not_tried_for_every_page() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    begin = time.monotonic()
    limits = Limits(pause=0.0, backoff=0.2)
    results = check(*(f"http://127.0.0.1:{port}/{n}" for n in range(50)), limits=limits)
    assert time.monotonic() - begin < 10  # three attempts at each would take half a minute
    assert {result.state for result in results} == {State.UNREACHABLE}
    (shown,) = {result.detail for result in results}
    assert shown


def test_requests_to_one_host_keep_their_distance_and_hosts_go_side_by_side(
    server: Server, other: Server
) -> None:
    for each in (server, other):
        each.answers |= {f"/{n}": status(200) for n in range(3)}
    urls = [f"{each.url}/{n}" for n in range(3) for each in (server, other)]
    results = check(*urls, limits=Limits(pause=0.3))
    assert {result.state for result in results} == {State.OK}
    for each in (server, other):
        times = [when for *_, when in each.asked]
        assert all(b - a >= 0.29 for a, b in pairwise(times))
    assert other.asked[0][2] < server.asked[-1][2]
    assert server.asked[0][2] < other.asked[-1][2]


PAPER = Paper.model_validate(
    {
        "title": "A Pruner",
        "authors": ["Ada Lovelace"],
        "kind": "survey",
        "summary": "Surveys.",
        "year": 2024,
        "status": "preprint",
        "added": "2026-11-25",
        "links": {"paper": "http://127.0.0.1:9/ok"},
        "code": [{"url": "http://127.0.0.1:9/dead", "official": True}],
        "sources": {"checked": "2026-11-25", "from": ["paper"]},
    }
)


def test_results_are_kept_from_run_to_run_and_a_half_line_is_forgotten(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "links.jsonl"
    now = check("http://127.0.0.1:9/x")[0].checked
    store = Store(file, timedelta(hours=1))
    store.add(Result("http://a.org", State.OK, "", now))
    store.add(Result("http://b.org", State.UNREACHABLE, "HTTP 500", now))
    store.add(Result("http://c.org", State.DEAD, "HTTP 404", "2020-01-01T00:00:00+00:00"))
    with file.open("a") as half:
        half.write('{"url": "http://d.org", "sta')
    assert list(Store(file, timedelta(hours=1)).results) == ["http://a.org"]
    assert len(file.read_text().splitlines()) == 1
    assert Store(file, timedelta(0)).results == {}


def test_reports_name_what_to_look_at_first() -> None:
    where = {"http://a.org": ["a: ids.arxiv"], "http://b.org/x_y": ["b: code[0].url", "c: links"]}
    results = [
        Result("http://a.org", State.OK),
        Result("http://b.org/x_y", State.MOVED, "http://n.org/*_*"),
    ]
    text = as_text(results, where)
    assert text.startswith("2 addresses were asked for; 1 lead where they should.\nMoved for good")
    assert "http://b.org/x_y: http://n.org/*_* (b: code[0].url, c: links)" in text
    assert (
        "## Moved for good: write the new address\n\n- <http://b.org/x_y>: http://n.org/\\*\\_\\*"
        in (as_markdown(results, where))
    )
    data = json.loads(as_json(results, where))
    assert [(one["state"], one["used_by"]) for one in data] == [
        ("moved", where["http://b.org/x_y"]),
        ("ok", where["http://a.org"]),
    ]


def test_an_address_of_several_entries_is_asked_for_once() -> None:
    assert uses({"b": PAPER, "a": PAPER}) == {
        "http://127.0.0.1:9/ok": ["a: links.paper", "b: links.paper"],
        "http://127.0.0.1:9/dead": ["a: code[0].url", "b: code[0].url"],
    }


def check_links(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    script = [sys.executable, str(ROOT / "tools" / "check_links.py"), "--pause", "0"]
    where = ["--papers", str(folder / "papers"), "--cache", str(folder / "links.jsonl")]
    command = [*script, *where, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def folder(tmp_path: Path, server: Server) -> Path:
    """A catalog of one entry whose links lead to the server: one there, one dead."""
    server.answers["/ok"] = status(200)
    text = render(PAPER).replace("http://127.0.0.1:9", server.url)
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "pruner.yaml").write_text(text, encoding="utf-8")
    return tmp_path


def test_a_dead_link_is_reported_and_fails_only_if_strict(folder: Path, server: Server) -> None:
    done = check_links(folder)
    assert done.returncode == 0, done.stderr
    assert "2 addresses were asked for; 1 lead where they should." in done.stdout
    assert f"{server.url}/dead: HTTP 404 (pruner: code[0].url)" in done.stdout
    assert check_links(folder, "--strict").returncode == 1


def test_a_second_run_asks_only_for_what_is_not_known(folder: Path, server: Server) -> None:
    check_links(folder)
    before = list(server.asked)
    data = json.loads(check_links(folder, "--json").stdout)
    assert server.asked == before
    assert [one["state"] for one in data] == ["dead", "ok"]
    assert check_links(folder, "--hours", "0", "--markdown").returncode == 0
    assert len(server.asked) == 2 * len(before)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nosuch"], 2, "there is no entry 'nosuch'"),
        (["--contact", "me"], 2, "'me' is not an e-mail address"),
        (["--cache", "/dev/null/x"], 1, "choose another --cache"),
    ],
)
def test_nonsense_is_refused_before_anything_is_asked(
    arguments: list[str], code: int, message: str, folder: Path, server: Server
) -> None:
    done = check_links(folder, *arguments)
    assert done.returncode == code
    assert message in " ".join(done.stderr.replace("│", " ").split())
    assert server.asked == []
