"""The cache of answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.sources.server import Answer, Replay, break_off, stored
from tools.sources.lookup.queries import fetch
from tools.sources.names.references import Reference
from tools.sources.services.registry import BY_NAME
from tools.sources.web import errors
from tools.sources.web.client import Client
from tools.sources.web.page import JSON, Page

Connect = Callable[..., Client]
HOST = "api.crossref.org"
FLAP = Reference("doi", "10.1609/aaai.v38i10.28960")
GOOD = stored("crossref/flap.json")
SITE = BY_NAME["Crossref"].sites[0]
UNREADABLE = {
    "truncated JSON": (Answer(b'{"message": {"DOI'), errors.Malformed),
    "HTML": (Answer(b"<html>Are you a robot?</html>", "text/html"), errors.Malformed),
    "not found": (Answer(b"Resource not found.", "text/plain", 404), errors.NotFound),
    "another form": (Answer(b'{"message": 1}'), errors.Malformed),
}


def test_caches_answers(replay: Replay, connect: Connect, tmp_path: Path) -> None:
    first = fetch(FLAP, connect(tmp_path))
    assert fetch(FLAP, connect(tmp_path)) == first
    assert len(replay.requests) == 1


def test_cached_answers_expire(replay: Replay, connect: Connect, tmp_path: Path) -> None:
    client = connect(tmp_path, max_age=0.0)
    fetch(FLAP, client)
    fetch(FLAP, client)
    assert len(replay.requests) == 2


@pytest.mark.parametrize("case", UNREADABLE)
def test_does_not_cache_unreadable_answers(
    case: str, replay: Replay, connect: Connect, tmp_path: Path
) -> None:
    replay.say(HOST, UNREADABLE[case][0], GOOD)
    client = connect(tmp_path)
    with pytest.raises(UNREADABLE[case][1]):
        fetch(FLAP, client)
    assert fetch(FLAP, client).venue == "aaai"


def test_works_with_damaged_cache(replay: Replay, connect: Connect, tmp_path: Path) -> None:
    (tmp_path / "answers.db").write_bytes(b"no database" * 1000)
    client = connect(tmp_path)
    assert fetch(FLAP, client) == fetch(FLAP, client)
    assert len(replay.requests) == 2


def test_works_without_cache_folder(replay: Replay, connect: Connect, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for _ in range(2):
        assert fetch(FLAP, connect(tmp_path / "file" / "cache")).venue == "aaai"
    assert len(replay.requests) == 2


def test_does_not_cache_incomplete_body(replay: Replay, connect: Connect, tmp_path: Path) -> None:
    replay.say(HOST, Answer(break_off), GOOD)
    client = connect(tmp_path)
    with pytest.raises(errors.Malformed):
        fetch(FLAP, client)
    assert fetch(FLAP, client).venue == "aaai"


def test_cached_body_is_unchanged(connect: Connect, tmp_path: Path) -> None:
    def read() -> Page:
        return connect(tmp_path).read(SITE, f"/works/{FLAP.value}", JSON, lambda page: page)

    assert read() == read()
    assert json.loads(read().body)["status"] == "ok"
