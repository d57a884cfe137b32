"""The command on a catalog of one entry, whose links lead to a server of our own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.catalog.invented import paper
from tests.links.link_server import Server, status
from tools.catalog.entries.writer import render
from tools.repository import REPOSITORY

PAPER = paper(
    ids={},
    links={"paper": "http://127.0.0.1:9/ok"},
    code=[{"url": "http://127.0.0.1:9/dead", "official": True}],
)


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


def check_links(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    script = [sys.executable, str(REPOSITORY / "tools" / "check_links.py"), "--pause", "0"]
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
