"""`add_paper.py` writes the entry and the method folder together, or neither."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.tools.invented import SUMMARY
from tools import add_paper
from tools.adding import add as adding

ARGUMENTS = (
    *("--manual", "2401.01234", "--title", "FooPrune: Pruning by Foo", "--author", "Ann Bee"),
    *("--year", "2024", "--source", "paper", "--summary", SUMMARY, "--kind", "method"),
    *("--granularity", "unstructured", "--criterion", "magnitude", "--calibration", "forward"),
    *("--scaffold", "--fidelity", "faithful"),
)


def add(papers: Path) -> tuple[int, str]:
    """Add the paper with its method folder; return the exit code and the last line."""
    done = CliRunner().invoke(add_paper.app, [*ARGUMENTS, "--catalog", str(papers)])
    return done.exit_code, done.stderr.splitlines()[-1]


def files(papers: Path) -> list[str]:
    """All files and folders of the checkout."""
    return sorted(str(path) for path in papers.parents[1].rglob("*"))


def test_writes_nothing_on_a_full_disk(papers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(number: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = files(papers)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        code, said = add(papers)
    assert (code, said) == (1, f"{papers}/fooprune.yaml was not written: No space left on device")
    assert files(papers) == before
    assert add(papers)[0] == 0


def test_writes_nothing_after_ctrl_c(papers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    before = files(papers)
    monkeypatch.setattr(adding, "write_file", interrupt)
    assert add(papers) == (1, "cancelled; nothing was written")
    assert files(papers) == before
