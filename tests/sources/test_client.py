"""The HTTP client: failing sources, retries and pauses."""

from __future__ import annotations

import httpx
import pytest

from tests.sources.replay import UNREACHABLE, Answer, Replay, stored
from tools.sources import errors
from tools.sources.client import MAX_BYTES, Client
from tools.sources.lookup.queries import fetch
from tools.sources.names.references import Reference

HOST = "api.crossref.org"
FLAP = Reference("doi", "10.1609/aaai.v38i10.28960")
GOOD = stored("crossref/flap.json")
FAILURES = [
    (Answer(status=404), errors.NotFound, r"has no /works/10.1609%2Faaai.* \(HTTP 404\); check"),
    (Answer(status=403), errors.NotFound, r"rejects the request \(HTTP 403\); check"),
    (Answer(status=500), errors.ServerError, r"server error \(HTTP 500\); try again later"),
    (Answer(status=429), errors.Busy, r"accepts no requests for a while \(HTTP 429\)"),
    (Answer(httpx.ReadTimeout("")), errors.Busy, "did not answer in time; check the network"),
    (UNREACHABLE, errors.Unreachable, r"cannot be reached \(refused\); check the network"),
    (Answer(httpx.RemoteProtocolError("")), errors.Malformed, "incomplete or not HTTP"),
    (Answer(b" " * (MAX_BYTES + 1)), errors.Malformed, "sent more than 5 MB"),
    (Answer(status=302, headers={"Location": "/x"}), errors.Malformed, "incomplete or not HTTP"),
    (Answer(b'{"message": {"DOI'), errors.Malformed, "it is not valid JSON; try again later"),
    (Answer(b"<html>Are you a robot?</html>"), errors.Malformed, "it is not valid JSON"),
    (Answer(b'{"message": 1}'), errors.Malformed, "message does not have the documented form"),
    (Answer(b'{"message": "\xff"}'), errors.Malformed, "message does not have the documented form"),
]


@pytest.mark.parametrize(("answer", "kind", "message"), FAILURES)
def test_each_failure_has_its_own_message(
    answer: Answer, kind: type, message: str, replay: Replay, client: Client
) -> None:
    replay.say(HOST, answer)
    with pytest.raises(errors.SourceError, match=message) as caught:
        fetch(FLAP, client)
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("failure", [Answer(status=429), Answer(status=503), FAILURES[4][0]])
def test_retries_temporary_errors(failure: Answer, replay: Replay, client: Client) -> None:
    replay.say(HOST, failure, failure, GOOD)
    assert fetch(FLAP, client).venue == "aaai"
    assert {1.0, 2.0} <= set(replay.slept)


@pytest.mark.parametrize(("status", "times"), [(503, 3), (400, 1), (404, 1)])
def test_stops_after_three_attempts(
    status: int, times: int, replay: Replay, client: Client
) -> None:
    replay.say(HOST, Answer(status=status))
    with pytest.raises(errors.SourceError):
        fetch(FLAP, client)
    assert len(replay.requests) == times


def test_waits_as_long_as_the_source_asks(replay: Replay, client: Client) -> None:
    replay.say(HOST, Answer(status=429, headers={"Retry-After": "7"}), GOOD)
    fetch(FLAP, client)
    assert 7.0 in replay.slept


def test_a_host_that_is_down_is_not_queried_again(replay: Replay, client: Client) -> None:
    replay.say(HOST, Answer(status=429, headers={"Retry-After": "3600"}))
    for _ in range(2):
        with pytest.raises(errors.Busy, match="accepts no requests for 3600 s"):
            fetch(FLAP, client)
    assert (len(replay.requests), replay.slept) == (1, [])


def test_pauses_between_requests_to_one_host(replay: Replay, client: Client) -> None:
    fetch(FLAP, client)
    fetch(Reference("arxiv", "2301.00774"), client)
    assert replay.slept == []
    fetch(Reference("arxiv", "2306.11695"), client)
    assert replay.slept == [pytest.approx(3, abs=0.9)]


def test_follows_redirects(replay: Replay, client: Client) -> None:
    replay.say(HOST, Answer(status=302, headers={"Location": "/v2/x"}), GOOD)
    assert fetch(FLAP, client).venue == "aaai"
    assert replay.requests[1].path == "/v2/x"


def test_sends_contact_in_user_agent(replay: Replay) -> None:
    with Client("someone@example.org") as client:
        fetch(FLAP, client)
    agent = replay.requests[0].headers["User-Agent"]
    assert agent == "pruning-atlas/0.1 (mailto:someone@example.org)"


@pytest.mark.parametrize("contact", ["", "me", "a@b", "a@b.org\r\nX: 1"])
def test_rejects_invalid_contact(contact: str) -> None:
    with pytest.raises(errors.BadSetting, match=r"name@example.org"):
        Client(contact)
