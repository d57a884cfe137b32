"""Mirrors of the sources."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.sources.server import Replay
from tools.sources.lookup.queries import fetch
from tools.sources.names.references import Reference
from tools.sources.web import errors
from tools.sources.web.client import Client, default_client
from tools.sources.web.hosts import read_hosts

Connect = Callable[..., Client]
HOST = "api.crossref.org"
FLAP = Reference("doi", "10.1609/aaai.v38i10.28960")


def test_reads_hosts_from_the_environment(
    replay: Replay, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in (replay.environment | {"XDG_CACHE_HOME": str(tmp_path)}).items():
        monkeypatch.setenv(name, value)
    with default_client("someone@example.org") as client:
        assert fetch(FLAP, client).venue == "aaai"
    assert len(replay.requests) == 1
    assert list(tmp_path.rglob("answers.db"))


def test_accepts_empty_value() -> None:
    assert read_hosts("") == {}
    assert read_hosts("a.org=http://b:1/c, d.org=https://e,") == {
        "a.org": "http://b:1/c",
        "d.org": "https://e",
    }


@pytest.mark.parametrize(
    "text", ["a.org", "a.org=ftp://b", "=http://b", "a/b=http://c", "x=https:///"]
)
def test_rejects_invalid_values(text: str) -> None:
    with pytest.raises(errors.BadSetting, match="use the form host=https://mirror/path"):
        read_hosts(text)
