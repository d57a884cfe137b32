"""A small catalog, the replayed sources, and the commands."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import typer
from typer.testing import CliRunner

from tests.sources.replay import Replay
from tools import add_paper
from tools.catalog.entries.loader import PAPERS

HERE = ("magnitude", "flap")
"""Entries of the small catalog; the sources know more papers."""


class Ended(NamedTuple):
    """The result of a command."""

    code: int
    out: str
    err: str


Command = Callable[..., Ended]


@pytest.fixture
def papers(tmp_path: Path) -> Path:
    """A catalog of two papers in its own checkout."""
    folder = tmp_path / "checkout" / "catalog" / "papers"
    folder.mkdir(parents=True)
    (tmp_path / "checkout" / "implementations").mkdir()
    for slug in HERE:
        shutil.copy(PAPERS / f"{slug}.yaml", folder)
    return folder


@pytest.fixture
def replay(monkeypatch: pytest.MonkeyPatch) -> Replay:
    return Replay(monkeypatch)


@pytest.fixture
def add(papers: Path, replay: Replay) -> Command:
    """Run `add_paper.py` in this process on the small catalog."""
    return lambda *arguments: invoke(add_paper.app, *arguments, "--papers", papers)


def invoke(app: typer.Typer, *arguments: object) -> Ended:
    """Run a command in this process; messages of `sys.exit` go to stderr."""
    done = CliRunner().invoke(app, list(map(str, arguments)))
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    message = getattr(done.exception, "code", None)
    if not isinstance(message, str):
        return Ended(done.exit_code, done.stdout, done.stderr)
    return Ended(done.exit_code, done.stdout.removesuffix(f"{message}\n"), f"{message}\n")
