"""Comparison of entries with their sources, with the real client and a local server."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rich.console import Console

from tests.sources.replay import UNREACHABLE, Replay, index
from tools.catalog.entries.loader import PAPERS, Entry, read_catalog
from tools.checking.online_checks import source_problems
from tools.sources.client import default_client


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
def replay(monkeypatch: pytest.MonkeyPatch) -> Replay:
    return Replay(monkeypatch)


def told(problems: Iterator[object]) -> list[str]:
    return [str(problem).partition("flap.yaml:")[2] for problem in problems]


def test_contradiction_is_an_error(
    flap: Callable[..., Entry], replay: Replay, console: Console
) -> None:
    title = "Fluctuation-Based Adaptive Structured Pruning for Large Language Models"
    wrong = flap((title, "Pruning Something Entirely Different by Other Means"))
    with default_client(None) as client:
        found = told(source_problems([wrong], client, console))
    assert any(one.startswith("2: title: ") and title.lower() in one.lower() for one in found)


def test_unreachable_source_is_a_warning(
    flap: Callable[..., Entry], replay: Replay, console: Console
) -> None:
    for host in index():
        replay.say(host, UNREACHABLE)
    with default_client(None) as client:
        found = told(source_problems([flap()], client, console))
    assert found
    assert all(": warning: ids." in one for one in found)
