"""Links asked for over real connections."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from itertools import pairwise

import pytest

from tests.links.link_server import Handler, Server, in_turn, status
from tools.links.checker import Limits, check
from tools.links.status import Result, State

QUICK = Limits(pause=0.0, backoff=0.0, timeout=60.0, patience=5.0)


def visit(*urls: str, limits: Limits = QUICK) -> list[Result]:
    results: list[Result] = []
    check(urls, results.append, limits=limits)
    return results


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
    (result,) = visit(f"{server.url}/page")
    assert result.state is state
    assert detail in result.detail
    assert result.checked


def test_only_the_head_is_asked_for_where_that_is_enough(server: Server) -> None:
    server.answers["/page"] = status(200)
    visit(f"{server.url}/page")
    assert server.verbs == ["HEAD /page"]


def test_the_page_is_asked_for_where_the_head_is_refused(server: Server) -> None:
    server.answers["/page"] = lambda handler: handler.answer(
        200 if handler.command == "GET" else 405
    )
    (result,) = visit(f"{server.url}/page")
    assert result.state is State.OK
    assert server.verbs == ["HEAD /page", "GET /page"]


def test_the_page_is_asked_for_where_the_head_breaks_off(server: Server) -> None:
    def answer(handler: Handler) -> None:
        if handler.command == "HEAD":
            handler.connection.shutdown(socket.SHUT_RDWR)
        else:
            handler.answer(200)

    server.answers["/page"] = answer
    (result,) = visit(f"{server.url}/page")
    assert result.state is State.OK


@pytest.mark.parametrize(("first", "moved"), [(301, True), (308, True), (302, False), (307, False)])
def test_a_page_that_moved_for_good_to_another_host_says_where_to(
    first: int, moved: bool, server: Server, other: Server
) -> None:
    server.answers["/old"] = status(first, location=f"{other.url}/new")
    other.answers["/new"] = status(302, location="/today")
    other.answers["/today"] = status(301, location="/end")
    other.answers["/end"] = status(200)
    (result,) = visit(f"{server.url}/old")
    # What redirects for a while only is no new address.
    expected = (State.MOVED, f"{other.url}/new") if moved else (State.OK, "")
    assert (result.state, result.detail) == expected


def test_a_page_that_moved_to_nowhere_is_dead(server: Server) -> None:
    server.answers["/old"] = status(301, location="/new")
    (result,) = visit(f"{server.url}/old")
    assert result.state is State.DEAD


def test_too_many_redirects_are_dead(server: Server) -> None:
    for step in range(20):
        server.answers[f"/{step}"] = status(302, location=f"/{step + 1}")
    (result,) = visit(f"{server.url}/0")
    assert (result.state, result.detail) == (State.DEAD, "redirects without end")
    assert len(server.asked) == QUICK.redirects + 1


def test_an_error_that_passes_is_asked_again(server: Server) -> None:
    server.answers["/page"] = in_turn(status(500), status(500), status(429), status(200))
    (result,) = visit(f"{server.url}/page")
    assert result.state is State.OK


def test_a_server_that_asks_for_patience_gets_it(server: Server) -> None:
    server.answers["/page"] = in_turn(status(429, retry_after="1"), status(200))
    (result,) = visit(f"{server.url}/page")
    assert result.state is State.OK
    (*_, first), (*_, second) = server.asked
    assert second - first >= 1.0


def test_more_patience_than_there_is_ends_it_at_once(server: Server) -> None:
    server.answers["/page"] = status(429, retry_after="3600")
    (result,) = visit(f"{server.url}/page")
    assert (result.state, len(server.asked)) == (State.BLOCKED, 1)


def test_a_server_that_does_not_answer_is_unreachable(server: Server) -> None:
    server.answers["/page"] = lambda _: time.sleep(0.4)
    limits = Limits(pause=0.0, backoff=0.0, timeout=0.1, attempts=2)
    (result,) = visit(f"{server.url}/page", limits=limits)
    assert (result.state, result.detail) == (State.UNREACHABLE, "no answer in time")


def test_a_head_that_trickles_is_unreachable(server: Server) -> None:
    def trickle(handler: Handler) -> None:
        for _ in range(20):
            handler.wfile.write(b"H")
            time.sleep(0.05)

    server.answers["/page"] = trickle
    limits = Limits(pause=0.0, backoff=0.0, timeout=0.2, attempts=1)
    (result,) = visit(f"{server.url}/page", limits=limits)
    assert (result.state, result.detail) == (State.UNREACHABLE, "no answer in time")


def test_a_page_for_people_is_not_asked_for_again(server: Server) -> None:
    server.answers["/page"] = status(503, cf_mitigated="challenge")
    visit(f"{server.url}/page")
    assert server.verbs == ["HEAD /page", "GET /page"]


def test_a_body_is_not_read(server: Server) -> None:
    def endless(handler: Handler) -> None:
        handler.send_response(405 if handler.command == "HEAD" else 200)
        handler.send_header("Content-Length", str(10**12))
        handler.end_headers()

    server.answers["/page"] = endless
    (result,) = visit(f"{server.url}/page")
    assert result.state is State.OK


def test_a_host_that_is_down_is_not_tried_for_every_page() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    begin = time.monotonic()
    limits = Limits(pause=0.0, backoff=0.2)
    results = visit(*(f"http://127.0.0.1:{port}/{n}" for n in range(50)), limits=limits)
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
    results = visit(*urls, limits=Limits(pause=0.3))
    assert {result.state for result in results} == {State.OK}
    for each in (server, other):
        times = [when for *_, when in each.asked]
        assert all(b - a >= 0.29 for a, b in pairwise(times))
    assert other.asked[0][2] < server.asked[-1][2]
    assert server.asked[0][2] < other.asked[-1][2]
