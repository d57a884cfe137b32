"""The client against everything a source or a network can do to it."""

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
    "forbidden": (Answer(status=403), errors.NotFound, r"refuses the request \(HTTP 403\); check"),
    "no content": (Answer(status=204), errors.NotFound, r"refuses the request \(HTTP 204\); check"),
    "out of order": (Answer(status=500), errors.Unwell, r"error of its own \(HTTP 500\); try"),
    "silence": (Answer(server.silence), errors.Busy, "did not answer in time; check the net"),
    "trickle of a body": (Answer(server.trickle_body), errors.Busy, "did not answer in time"),
    "flood": (Answer(server.flood), errors.Malformed, "sent more than 5 MB, too much for a paper"),
    "broken off": (
        Answer(server.break_off),
        errors.Malformed,
        "broke off or is not HTTP; try again",
    ),
    "not HTTP": (
        Answer(lambda handler: handler.wfile.write(b"hello\r\n\r\n")),
        errors.Malformed,
        "broke off or is not HTTP",
    ),
    "truncated JSON": (Answer(b'{"message": {"DOI'), errors.Malformed, "it is not valid JSON"),
    "empty body": (Answer(b""), errors.Malformed, "it is not valid JSON"),
    "another form": (Answer(b'{"message": 1}'), errors.Malformed, "message is not in the docum"),
    "a list": (Answer(b"[]"), errors.Malformed, "the whole is not in the documented form"),
    "HTML": (
        Answer(b"<html>Are you a robot?</html>", "text/html; charset=utf-8"),
        errors.Malformed,
        "api.crossref.org sent text/html instead of JSON; try again later",
    ),
    "no type": (Answer(b"{}", ""), errors.Malformed, "sent something without a content type"),
    "not packed as it says": (
        GOOD._replace(headers=(("Content-Encoding", "gzip"),)),
        errors.Malformed,
        "broke off or is not HTTP",
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
        "redirects without end",
    ),
    "redirect elsewhere": (
        redirect("https://evil.example/works"),
        errors.Malformed,
        "redirects to 'https://evil.example/works', which is not a page of Crossref over https",
    ),
    "redirect to a file": (redirect("file:///etc/passwd"), errors.Malformed, "redirects to 'file:"),
    "redirect to this machine": (redirect("https://127.0.0.1/"), errors.Malformed, "127.0.0.1"),
    "redirect without TLS": (redirect(f"http://{HOST}/works"), errors.Malformed, "not a page of"),
    "redirect to a look-alike": (
        redirect(f"https://{HOST}.evil.example/"),
        errors.Malformed,
        "evil",
    ),
    "redirect to no address": (redirect("https://[::1"), errors.Malformed, "is not HTTP"),
    "redirect without a target": (Answer(status=302), errors.NotFound, r"\(HTTP 302\)"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_each_misfortune_has_its_own_message(case: str, replay: Replay, connect: Connect) -> None:
    answer, kind, message = HOSTILE[case]
    replay.say(HOST, answer)
    # What comes to nothing is given up soon; what comes, however slowly, is read.
    soon = {"read": 0.3, "attempt": 0.6} if kind is errors.Busy else {"read": 60, "attempt": 60}
    client = connect(attempts=1, **soon)
    began = time.monotonic()
    with pytest.raises(errors.SourceError, match=message) as caught:
        fetch(FLAP, client)
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    assert "; " in str(caught.value), "no way out"
    assert time.monotonic() - began < 10


def test_every_way_to_go_on_is_told_apart() -> None:
    kinds = {kind for _, kind, _ in HOSTILE.values()}
    assert kinds == {errors.Busy, errors.Unwell, errors.NotFound, errors.Malformed}


def test_a_refused_connection_is_told_at_once(connect: Connect, slept: list[float]) -> None:
    client = connect(hosts={"export.arxiv.org": "http://127.0.0.1:1"})
    with pytest.raises(errors.Unreachable, match=r"refused.*; check the network$"):
        fetch(Reference("arxiv", "2301.00774"), client)
    assert slept == []


def test_a_name_that_does_not_exist(connect: Connect) -> None:
    client = connect(hosts={"export.arxiv.org": "http://atlas.invalid"})
    with pytest.raises(errors.Unreachable, match=r"export.arxiv.org cannot be reached"):
        fetch(Reference("arxiv", "2301.00774"), client)


def test_a_host_that_is_down_is_not_asked_again(replay: Replay, connect: Connect) -> None:
    replay.say(HOST, Answer(status=429, headers=(("Retry-After", "3600"),)))
    client = connect()
    for _ in range(2):
        with pytest.raises(errors.Busy, match="asks to be left alone for 3600 s"):
            fetch(FLAP, client)
    assert len(replay.asked(HOST)) == 1


def test_certificates_are_verified(connect: Connect, tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with server.replaying(context) as replay:
        client = connect(hosts=replay.hosts)
        with pytest.raises(errors.Unreachable, match="certificate verify failed"):
            fetch(FLAP, client)
        assert replay.requests == []


class TestRetries:
    @pytest.mark.parametrize("status", [429, 500, 502, 503])
    def test_passing_errors_are_tried_again(
        self, status: int, replay: Replay, connect: Connect, slept: list[float]
    ) -> None:
        replay.say(HOST, Answer(status=status), Answer(status=status), GOOD)
        assert fetch(FLAP, connect()).venue == "aaai"
        assert sum(slept) >= 3, "one second, then two"

    def test_a_time_out_is_tried_again(self, replay: Replay, connect: Connect) -> None:
        replay.say(HOST, Answer(server.silence), GOOD)
        assert fetch(FLAP, connect(read=0.3)).venue == "aaai"

    def test_three_attempts_are_enough(self, replay: Replay, connect: Connect) -> None:
        replay.say(HOST, Answer(status=503))
        with pytest.raises(errors.Unwell):
            fetch(FLAP, connect())
        assert len(replay.asked(HOST)) == 3

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
    def test_lasting_errors_are_not(self, status: int, replay: Replay, connect: Connect) -> None:
        replay.say(HOST, Answer(status=status))
        with pytest.raises((errors.NotFound, errors.NotFound)):
            fetch(FLAP, connect())
        assert len(replay.asked(HOST)) == 1

    def test_seconds_of_retry_after_are_waited(
        self, replay: Replay, connect: Connect, slept: list[float]
    ) -> None:
        replay.say(HOST, Answer(status=429, headers=(("Retry-After", "7"),)), GOOD)
        fetch(FLAP, connect())
        assert 7.0 in slept

    def test_a_date_of_retry_after_is_waited_for(
        self, replay: Replay, connect: Connect, slept: list[float]
    ) -> None:
        until = formatdate(time.time() + 9, usegmt=True)
        replay.say(HOST, Answer(status=503, headers=(("Retry-After", until),)), GOOD)
        fetch(FLAP, connect())
        assert any(6 < seconds <= 9 for seconds in slept)

    @pytest.mark.parametrize("header", ["soon", "-5", "", "Wed, 99 Nov 2026", "\x01"])
    def test_nonsense_in_retry_after_is_passed_over(
        self, header: str, replay: Replay, connect: Connect
    ) -> None:
        replay.say(HOST, Answer(status=503, headers=(("Retry-After", header),)), GOOD)
        assert fetch(FLAP, connect()).venue == "aaai"

    @pytest.mark.parametrize("wait", ["60", "999999999999", formatdate(4e9, usegmt=True)])
    def test_a_wait_beyond_patience_ends_at_once(
        self, wait: str, replay: Replay, connect: Connect, slept: list[float]
    ) -> None:
        replay.say(HOST, Answer(status=429, headers=(("Retry-After", wait),)))
        with pytest.raises(errors.Busy):
            fetch(FLAP, connect())
        assert slept == []

    def test_all_attempts_together_stay_within_patience(
        self, replay: Replay, connect: Connect
    ) -> None:
        replay.say(HOST, Answer(server.trickle_body))
        with pytest.raises(errors.Busy):
            fetch(FLAP, connect(attempt=0.5, patience=1.8, attempts=9))
        assert len(replay.asked(HOST)) == 2, "the third would begin after 0.5 + 0.5 + 1 s or more"

    def test_a_slow_source_is_given_up_after_half_a_minute(self) -> None:
        assert Limits().patience + Limits().attempt <= 30


class TestRedirects:
    def test_inside_the_source_they_are_followed(self, replay: Replay, connect: Connect) -> None:
        replay.say(HOST, redirect(f"https://{HOST}/v2/x"), redirect("/v3/x", 308), GOOD)
        assert fetch(FLAP, connect()).venue == "aaai"
        assert [request.path for request in replay.requests][1:] == ["/v2/x", "/v3/x"]

    def test_to_a_named_host_of_the_source(self, replay: Replay, connect: Connect) -> None:
        site = Site("Both", HOST, also=frozenset({"arxiv.org"}))
        replay.say(HOST, redirect("https://arxiv.org/there"))
        replay.say("arxiv.org", Answer(b"{}"))
        assert connect().read(site, "/here", JSON, lambda page: page).body == b"{}"

    def test_they_end(self, replay: Replay, connect: Connect) -> None:
        replay.say(HOST, *(redirect(f"/{number}") for number in range(50)))
        with pytest.raises(errors.Malformed):
            fetch(FLAP, connect())
        assert len(replay.requests) <= Limits().redirects + 1


class TestPoliteness:
    def test_who_asks_is_told(self, replay: Replay, connect: Connect) -> None:
        fetch(FLAP, connect(contact="someone@example.org"))
        headers = replay.requests[0].headers
        assert headers["User-Agent"] == "pruning-atlas/0.1 (mailto:someone@example.org)"
        assert headers["Accept"] == "application/json"

    @pytest.mark.parametrize("contact", ["", "me", "a@b", "a@b.org\r\nX: 1", "ö@b.org", "a b@c.de"])
    def test_a_contact_that_is_none_is_refused(self, contact: str) -> None:
        with pytest.raises(errors.BadSetting, match=r"name@example.org"):
            Client(None, contact)

    def test_only_one_connection_is_used(self, replay: Replay, connect: Connect) -> None:
        client = connect()
        before = threading.active_count()
        for value in ("2301.00774", "2306.11695", "2312.11983"):
            fetch(Reference("arxiv", value), client)
        assert threading.active_count() <= before + 1, "the server has a thread a connection"
