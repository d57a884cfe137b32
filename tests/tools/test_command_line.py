"""Every command ends in one line where the disk, the output or Ctrl-C ends it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from tests.tools.invented import SUMMARY
from tools.command_line import fail, program
from tools.repository import REPOSITORY

ADDING = (
    *("add_paper.py", "--manual", "2401.01234", "--title", "Foo Ł", "--author", "Ann B", "--year"),
    *("2024", "--source", "paper", "--summary", SUMMARY, "--kind", "method", "--granularity"),
    *("unstructured", "--criterion", "magnitude", "--calibration", "forward", "--slug", "foo"),
    "--dry-run",
)
COMMANDS = (
    ("check_catalog.py",),
    ("check_catalog.py", "--help"),
)


def run(command: tuple[str, ...], stdout: int, **more: object) -> subprocess.CompletedProcess[str]:
    script, *arguments = command
    return subprocess.run(
        [sys.executable, f"tools/{script}", *arguments],
        cwd=REPOSITORY,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        **more,
    )


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_full_output_is_one_line(command: tuple[str, ...]) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    done = run(command, full)
    os.close(full)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "the output: No space left on device"
    assert "Traceback" not in done.stderr


def test_an_output_that_cannot_show_a_letter_spells_it() -> None:
    done = run(ADDING, subprocess.PIPE, env=os.environ | {"PYTHONIOENCODING": "latin-1"})
    assert done.returncode == 0, done.stderr
    assert r"Foo \u0141" in done.stdout


def told(command: Callable[[], None]) -> tuple[int, str]:
    done = CliRunner().invoke(program(command), [])
    return done.exit_code, done.stdout + done.stderr


def test_ctrl_c_is_one_line() -> None:
    def waiting() -> None:
        raise KeyboardInterrupt

    assert told(waiting) == (130, "interrupted\n")


def test_a_disk_that_fails_is_one_line() -> None:
    def reading() -> None:
        raise PermissionError(13, "Permission denied", "/x")

    assert told(reading)[0] == 1
    assert "/x: Permission denied" in told(reading)[1]


def test_a_message_does_not_steer_the_terminal() -> None:
    with pytest.raises(SystemExit, match=r"^a\\x1b\[2J\nb$"):
        fail("a\x1b[2J\nb")


def test_an_error_of_ours_is_shown_whole() -> None:
    def wrong() -> None:
        raise RuntimeError("a bug")

    done = CliRunner().invoke(program(wrong), [])
    assert isinstance(done.exception, RuntimeError)
    assert isinstance(program(wrong), typer.Typer)


@pytest.mark.parametrize("folder", ["/", "/tmp"])
def test_a_catalog_may_lie_at_the_root(folder: str) -> None:
    done = run((*ADDING, "--catalog", folder), subprocess.PIPE)
    assert done.returncode == 0, done.stderr
    assert not Path(folder, "foo.yaml").exists()
