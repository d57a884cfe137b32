"""The HTTP client, with failing sources and networks."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path

import pytest
import trustme

from tests.sources import server
from tests.sources.server import Answer, Replay, stored
from tools.sources.lookup.queries import fetch
from tools.sources.names.references import Reference
from tools.sources.web import errors
from tools.sources.web.client import Client, Limits
from tools.sources.web.hosts import Site
from tools.sources.web.page import JSON

Connect = Callable[..., Client]
HOST = "api.crossref.org"
FLAP = Reference("doi", "10.1609/aaai.v38i10.28960")
GOOD = stored("crossref/flap.json")


def redirect(to: str, status: int = 302) -> Answer:
    return Answer(b"", "text/html", status, (("Location", to),))


HOSTILE = {
    "not found": (
        Answer(b"Resource not found.", "text/plain", 404),
        errors.NotFound,
        r"api.crossref.org has no /works/10.1609%2Faaai.v38i10.28960 \(HTTP 404\); check",
    ),
    "forbidden": (Answer(status=403), errors.NotFound, r"rejects the request \(HTTP 403\); check"),
    "no content": (Answer(status=204), errors.NotFound, r"rejects the request \(HTTP 204\); check"),
    "out of order": (Answer(status=500), errors.ServerError, r"server error \(HTTP 500\); try"),
    "silence": (Answer(server.silence), errors.Busy, "did not answer in time; check the net"),
    "trickle of a body": (Answer(server.trickle_body), errors.Busy, "did not answer in time"),
    "flood": (Answer(server.flood), errors.Malformed, "sent more than 5 MB"),
    "broken off": (
        Answer(server.break_off),
        errors.Malformed,
        "is incomplete or not HTTP; try again",
    ),
    "not HTTP": (
        Answer(lambda handler: handler.wfile.write(b"hello\r\n\r\n")),
        errors.Malformed,
        "is incomplete or not HTTP",
    ),
    "truncated JSON": (Answer(b'{"message": {"DOI'), errors.Malformed, "it is not valid JSON"),
    "empty body": (Answer(b""), errors.Malformed, "it is not valid JSON"),
    "another form": (
        Answer(b'{"message": 1}'),
        errors.Malformed,
        "message does not have the docum",
    ),
    "a list": (Answer(b"[]"), errors.Malformed, "it does not have the documented form"),
    "HTML": (
        Answer(b"<html>Are you a robot?</html>", "text/html; charset=utf-8"),
        errors.Malformed,
        "api.crossref.org sent text/html instead of JSON; try again later",
    ),
    "no type": (Answer(b"{}", ""), errors.Malformed, "sent something without a content type"),
    "not packed as it says": (
        GOOD._replace(headers=(("Content-Encoding", "gzip"),)),
        errors.Malformed,
        "is incomplete or not HTTP",
    ),
    "bad encoding": (Answer(b'{"title": "\xff"}'), errors.Malformed, "is not text in utf-8"),
    "unknown encoding": (
        Answer(b"{}", "application/json; charset=klingon"),
        errors.Malformed,
        "is not text in klingon",
    ),
    "redirect to itself": (
        redirect(f"https://{HOST}/works/10.1609%2Faaai.v38i10.28960"),
        errors.Malformed,
        "redirects too often",
    ),
    "redirect elsewhere": (
        redirect("https://evil.example/works"),
        errors.Malformed,
        "redirects to 'https://evil.example/works', which is not an https page of Crossref",
    ),
    "redirect to a file": (redirect("file:///etc/passwd"), errors.Malformed, "redirects to 'file:"),
    "redirect to this machine": (redirect("https://127.0.0.1/"), errors.Malformed, "127.0.0.1"),
    "redirect without TLS": (
        redirect(f"http://{HOST}/works"),
        errors.Malformed,
        "not an https page of",
    ),
    "redirect to a look-alike": (
        redirect(f"https://{HOST}.evil.example/"),
        errors.Malformed,
        "evil",
    ),
    "redirect to no address": (redirect("https://[::1"), errors.Malformed, "or not HTTP"),
    "redirect without a target": (Answer(status=302), errors.NotFound, r"\(HTTP 302\)"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_each_failure_has_its_own_message(case: str, replay: Replay, connect: Connect) -> None:
    answer, kind, message = HOSTILE[case]
    replay.say(HOST, answer)
    # Short limits where no answer is expected, long ones where a slow answer must be read.
    soon = {"read": 0.3, "attempt": 0.6} if kind is errors.Busy else {"read": 60, "attempt": 60}
    client = connect(attempts=1, **soon)
    began = time.monotonic()
    with pytest.raises(errors.SourceError, match=message) as caught:
        fetch(FLAP, client)
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    assert "; " in str(caught.value), "no way out"
    assert time.monotonic() - began < 10


def test_all_error_classes_are_covered() -> None:
    kinds = {kind for _, kind, _ in HOSTILE.values()}
    assert kinds == {errors.Busy, errors.ServerError, errors.NotFound, errors.Malformed}


def test_reports_refused_connection_without_retry(connect: Connect, slept: list[float]) -> None:
    client = connect(hosts={"export.arxiv.org": "http://127.0.0.1:1"})
    with pytest.raises(errors.Unreachable, match=r"refused.*; check the network$"):
        fetch(Reference("arxiv", "2301.00774"), client)
    assert slept == []


def test_reports_unknown_host(connect: Connect) -> None:
    client = connect(hosts={"export.arxiv.org": "http://atlas.invalid"})
    with pytest.raises(errors.Unreachable, match=r"export.arxiv.org cannot be reached"):
        fetch(Reference("arxiv", "2301.00774"), client)


def test_does_not_query_a_host_that_is_down_again(replay: Replay, connect: Connect) -> None:
    replay.say(HOST, Answer(status=429, headers=(("Retry-After", "3600"),)))
    client = connect()
    for _ in range(2):
        with pytest.raises(errors.Busy, match="accepts no requests for 3600 s"):
            fetch(FLAP, client)
    assert len(replay.asked(HOST)) == 1


def test_verifies_certificates(connect: Connect, tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with server.replaying(context) as replay:
        client = connect(hosts=replay.hosts)
        with pytest.raises(errors.Unreachable, match="certificate verify failed"):
            fetch(FLAP, client)
        assert replay.requests == []


class TestRetries:
    @pytest.mark.parametrize("status", [429, 500, 502, 503])
    def test_retries_temporary_errors(
        self, status: int, replay: Replay, connect: Connect, slept: list[float]
    ) -> None:
        replay.say(HOST, Answer(status=status), Answer(status=status), GOOD)
        assert fetch(FLAP, connect()).venue == "aaai"
        assert sum(slept) >= 3, "one second, then two"

    def test_retries_timeouts(self, replay: Replay, connect: Connect) -> None:
        replay.say(HOST, Answer(server.silence), GOOD)
        assert fetch(FLAP, connect(read=0.3)).venue == "aaai"

    def test_stops_after_three_attempts(self, replay: Replay, connect: Connect) -> None:
        replay.say(HOST, Answer(status=503))
        with pytest.raises(errors.ServerError):
            fetch(FLAP, connect())
        assert len(replay.asked(HOST)) == 3

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
    def test_does_not_retry_permanent_errors(
        self, status: int, replay: Replay, connect: Connect
    ) -> None:
        replay.say(HOST, Answer(status=status))
        with pytest.raises((errors.NotFound, errors.NotFound)):
            fetch(FLAP, connect())
        assert len(replay.asked(HOST)) == 1

    def test_waits_for_retry_after_seconds(
        self, replay: Replay, connect: Connect, slept: list[float]
    ) -> None:
        replay.say(HOST, Answer(status=429, headers=(("Retry-After", "7"),)), GOOD)
        fetch(FLAP, connect())
        assert 7.0 in slept

    def test_waits_for_retry_after_date(
        self, replay: Replay, connect: Connect, slept: list[float]
    ) -> None:
        until = formatdate(time.time() + 9, usegmt=True)
        replay.say(HOST, Answer(status=503, headers=(("Retry-After", until),)), GOOD)
        fetch(FLAP, connect())
        assert any(6 < seconds <= 9 for seconds in slept)

    @pytest.mark.parametrize("header", ["soon", "-5", "", "Wed, 99 Nov 2026", "\x01"])
    def test_ignores_invalid_retry_after(
        self, header: str, replay: Replay, connect: Connect
    ) -> None:
        replay.say(HOST, Answer(status=503, headers=(("Retry-After", header),)), GOOD)
        assert fetch(FLAP, connect()).venue == "aaai"

    @pytest.mark.parametrize("wait", ["60", "999999999999", formatdate(4e9, usegmt=True)])
    def test_stops_if_the_wait_exceeds_patience(
        self, wait: str, replay: Replay, connect: Connect, slept: list[float]
    ) -> None:
        replay.say(HOST, Answer(status=429, headers=(("Retry-After", wait),)))
        with pytest.raises(errors.Busy):
            fetch(FLAP, connect())
        assert slept == []

    def test_all_attempts_stay_within_patience(self, replay: Replay, connect: Connect) -> None:
        replay.say(HOST, Answer(server.trickle_body))
        with pytest.raises(errors.Busy):
            fetch(FLAP, connect(attempt=0.5, patience=1.8, attempts=9))
        assert len(replay.asked(HOST)) == 2, "the third would begin after 0.5 + 0.5 + 1 s or more"

    def test_default_limits_stay_below_half_a_minute(self) -> None:
        assert Limits().patience + Limits().attempt <= 30


class TestRedirects:
    def test_follows_redirects_inside_the_source(self, replay: Replay, connect: Connect) -> None:
        replay.say(HOST, redirect(f"https://{HOST}/v2/x"), redirect("/v3/x", 308), GOOD)
        assert fetch(FLAP, connect()).venue == "aaai"
        assert [request.path for request in replay.requests][1:] == ["/v2/x", "/v3/x"]

    def test_follows_redirects_to_other_hosts_of_the_source(
        self, replay: Replay, connect: Connect
    ) -> None:
        site = Site("Both", HOST, also=frozenset({"arxiv.org"}))
        replay.say(HOST, redirect("https://arxiv.org/there"))
        replay.say("arxiv.org", Answer(b"{}"))
        assert connect().read(site, "/here", JSON, lambda page: page).body == b"{}"

    def test_limits_redirects(self, replay: Replay, connect: Connect) -> None:
        replay.say(HOST, *(redirect(f"/{number}") for number in range(50)))
        with pytest.raises(errors.Malformed):
            fetch(FLAP, connect())
        assert len(replay.requests) <= Limits().redirects + 1


class TestPoliteness:
    def test_sends_contact_in_user_agent(self, replay: Replay, connect: Connect) -> None:
        fetch(FLAP, connect(contact="someone@example.org"))
        headers = replay.requests[0].headers
        assert headers["User-Agent"] == "pruning-atlas/0.1 (mailto:someone@example.org)"
        assert headers["Accept"] == "application/json"

    @pytest.mark.parametrize("contact", ["", "me", "a@b", "a@b.org\r\nX: 1", "ö@b.org", "a b@c.de"])
    def test_rejects_invalid_contact(self, contact: str) -> None:
        with pytest.raises(errors.BadSetting, match=r"name@example.org"):
            Client(None, contact)

    def test_uses_one_connection(self, replay: Replay, connect: Connect) -> None:
        client = connect()
        before = threading.active_count()
        for value in ("2301.00774", "2306.11695", "2312.11983"):
            fetch(Reference("arxiv", value), client)
        assert threading.active_count() <= before + 1, "the server has a thread a connection"
