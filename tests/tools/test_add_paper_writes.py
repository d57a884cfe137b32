"""Writing an entry: killed at each step, two at once, on a disk that is full or read-only."""

from __future__ import annotations

import errno
import multiprocessing
import os
import re
import resource
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Barrier
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from typer.testing import CliRunner

from implementations.harness.results import files
from tests.tools.invented import SUMMARY
from tools import add_paper
from tools.adding import add as adding
from tools.catalog.entries import locking
from tools.catalog.entries.loader import load_catalog, read_catalog

Command = Callable[..., tuple[int, str, str]]

ARGUMENTS = (
    *("--manual", "2401.01234", "--title", "FooPrune: Pruning by Foo", "--author", "Ann Bee"),
    *("--year", "2024", "--source", "paper", "--summary", SUMMARY, "--kind", "method"),
    *("--granularity", "unstructured", "--criterion", "magnitude", "--calibration", "forward"),
)
START = multiprocessing.get_context("fork")


def add_here(papers: Path, *more: str) -> tuple[int, str]:
    """Add the paper in this process; return the exit code and what was said."""
    done = CliRunner().invoke(add_paper.app, [*ARGUMENTS, *more, "--catalog", str(papers)])
    return done.exit_code, done.stderr


def child(work: Callable[..., None], *arguments: Any) -> int:
    """Do something in a process of its own; return its exit code, negative for a signal."""
    process = START.Process(target=work, args=arguments)
    process.start()
    process.join(300)
    assert process.exitcode is not None
    return process.exitcode


def killed_at(step: int, papers: Path) -> None:
    """Add the paper, and be killed at the n-th line of what writes files."""
    left = step

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal left
        if frame.f_code.co_filename not in (locking.__file__, files.__file__):
            return None
        if event == "line":
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)
    code, _ = add_here(papers)
    os._exit(code)


def test_killed_at_any_step_it_leaves_a_whole_entry_or_none(papers: Path, tmp_path: Path) -> None:
    before = set(load_catalog(papers))
    assert add_here(papers)[0] == 0
    text = (papers / "fooprune.yaml").read_bytes()
    (papers / "fooprune.yaml").unlink()
    kills = written = 0
    while True:
        folder = tmp_path / f"kill{kills}" / "catalog" / "papers"
        shutil.copytree(papers, folder)
        code = child(killed_at, kills + 1, folder)
        entry = folder / "fooprune.yaml"
        if code == 0:
            break
        assert code == -signal.SIGKILL
        kills += 1
        written += entry.exists()
        assert not entry.exists() or entry.read_bytes() == text
        assert set(load_catalog(folder)) - before <= {"fooprune"}
        # The next attempt is not held up, and clears away what the killed one left.
        code, said = add_here(folder)
        assert code == 0 or "exists already" in said or "has this paper already" in said
        assert entry.read_bytes() == text
        if code == 0:
            assert [path.name for path in folder.iterdir() if path.suffix == ".tmp"] == []
    assert kills > 10
    assert 0 < written < kills


def add_at_once(barrier: Barrier, papers: Path, answers: Any, slug: str) -> None:
    """Add the paper, waiting before the write until the other is there too."""
    create = adding.create

    def together(*arguments: Any, **more: Any) -> None:
        barrier.wait(300)
        create(*arguments, **more)

    adding.create = together
    answers.put(add_here(papers, "--slug", slug))


def two_at_once(papers: Path, *slugs: str) -> str:
    """Add the paper in two processes; return what the one said that lost."""
    barrier, answers = START.Barrier(2), START.Queue()
    both = [
        START.Process(target=add_at_once, args=(barrier, papers, answers, slug)) for slug in slugs
    ]
    for process in both:
        process.start()
    ended = sorted(answers.get(timeout=300) for _ in both)
    for process in both:
        process.join(300)
    assert [code for code, _ in ended] == [0, 1], ended
    assert read_catalog(papers).problems == []
    return ended[1][1]


def test_of_two_at_once_one_wins_and_the_other_says_so(papers: Path) -> None:
    said = two_at_once(papers, "fooprune", "fooprune")
    assert f"{papers}/fooprune.yaml exists already and was left as it is" in said


def test_of_two_at_once_under_two_slugs_one_wins_and_the_other_says_so(papers: Path) -> None:
    said = two_at_once(papers, "fooprune", "barprune")
    assert re.search(r"has this paper already, as (foo|bar)prune \(has the same arXiv iden", said)
    assert sum((papers / f"{slug}.yaml").exists() for slug in ("fooprune", "barprune")) == 1


@contextmanager
def broken(monkeypatch: pytest.MonkeyPatch, name: str, code: int) -> Iterator[None]:
    """Let a function of `os` fail."""

    def fail(*arguments: Any, **more: Any) -> Any:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, name, fail)
        yield


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("fsync", errno.ENOSPC, "no space left on device"),
        ("link", errno.EDQUOT, "disk quota exceeded"),
        ("open", errno.EROFS, "read-only file system"),
        ("open", errno.EACCES, "permission denied"),
    ],
)
def test_a_disk_that_cannot_be_written_gets_a_message(
    papers: Path, monkeypatch: pytest.MonkeyPatch, name: str, code: int, message: str
) -> None:
    before = {path.name for path in papers.iterdir()}
    with broken(monkeypatch, name, code):
        ended, said = add_here(papers)
    assert ended == 1
    assert said.splitlines()[-1] == f"{papers}/fooprune.yaml was not written: {message}"
    assert {path.name for path in papers.iterdir()} - {locking.LOCK} == before
    assert add_here(papers)[0] == 0


def add_with_small_files(papers: Path, answers: Any) -> None:
    """Add the paper where no file may be longer than 100 bytes."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
    answers.put(add_here(papers))


def test_a_file_that_does_not_fit_leaves_nothing(papers: Path) -> None:
    before = {path.name for path in papers.iterdir()}
    answers = START.SimpleQueue()
    assert child(add_with_small_files, papers, answers) == 0
    code, said = answers.get()
    assert code == 1
    assert said.splitlines()[-1].endswith("fooprune.yaml was not written: file too large")
    assert {path.name for path in papers.iterdir()} - {locking.LOCK} == before


def test_without_the_entry_there_is_no_method_folder(
    papers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with broken(monkeypatch, "fsync", errno.ENOSPC):
        code, said = add_here(papers, "--scaffold", "--fidelity", "faithful")
    assert code == 1
    assert "no space left" in said
    assert list((papers.parents[1] / "implementations").iterdir()) == []


def test_nor_where_somebody_leaves_in_between(
    papers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leave(*arguments: Any, **more: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(adding, "create", leave)
    code, said = add_here(papers, "--scaffold", "--fidelity", "faithful")
    assert (code, said.splitlines()[-1]) == (1, "left; nothing was written")
    assert list((papers.parents[1] / "implementations").iterdir()) == []
