"""A small catalog, the replayed sources, and the commands."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import typer
from typer.testing import CliRunner

from tests.importing.lists import dumped
from tests.sources.replay import Replay
from tools import add_paper, import_records, update_paper
from tools.catalog.entries.loader import PAPERS

HERE = ("magnitude", "flap")
"""Entries of the small catalog; the sources know more papers."""


class Ended(NamedTuple):
    """The result of a command."""

    code: int
    out: str
    err: str


class Imported(NamedTuple):
    """The result of `import_records.py`: exit code, lines by slug, and output."""

    code: int
    lines: dict[str, str]
    said: str


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
    return lambda *arguments: _run(add_paper, papers, arguments)


@pytest.fixture
def update(papers: Path, replay: Replay) -> Command:
    """Run `update_paper.py` in this process on the small catalog."""
    return lambda *arguments: _run(update_paper, papers, arguments)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder for drafts, not yet created."""
    return tmp_path / "drafts"


@pytest.fixture
def run(papers: Path, replay: Replay, tmp_path: Path, out: Path) -> Callable[..., Imported]:
    """Run `import_records.py` in this process on records or the text of a list."""

    def run(records: list[dict[str, object]] | str, *options: object) -> Imported:
        file = tmp_path / "list.yaml"
        file.write_text(records if isinstance(records, str) else dumped(records), encoding="utf-8")
        options = ("--out", out, "--papers", papers, *options)  # the last one of a name counts
        done = CliRunner().invoke(import_records.app, list(map(str, (file, *options))))
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        found = re.findall(rf"(?m)^{file}:\d+: (\w+: (.+?)(?:;.*)?)$", done.stdout)
        lines = {name: line for line, name in found}
        return Imported(done.exit_code, lines, done.stdout + done.stderr)

    return run


def invoke(app: typer.Typer, *arguments: object) -> Ended:
    """Run a command in this process; messages of `sys.exit` go to stderr."""
    done = CliRunner().invoke(app, list(map(str, arguments)))
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    message = getattr(done.exception, "code", None)
    if not isinstance(message, str):
        return Ended(done.exit_code, done.stdout, done.stderr)
    return Ended(done.exit_code, done.stdout.removesuffix(f"{message}\n"), f"{message}\n")


def _run(script, papers: Path, arguments: tuple[object, ...]) -> Ended:
    done = CliRunner().invoke(script.app, [*map(str, arguments), "--catalog", str(papers)])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Ended(done.exit_code, done.stdout, done.stderr)
