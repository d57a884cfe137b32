"""How the commands end."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.tools.invented import SUMMARY
from tools.command_line import fail
from tools.repository import REPOSITORY

ADD = (
    *("--manual", "2401.01234", "--title", "Foo", "--author", "Ann B", "--year", "2024"),
    *("--source", "paper", "--summary", SUMMARY, "--kind", "method", "--slug", "foo"),
    *("--granularity", "unstructured", "--criterion", "magnitude", "--calibration", "forward"),
)


def test_fail_escapes_control_characters() -> None:
    with pytest.raises(SystemExit, match=r"^a\\x1b\[2J\nb$"):
        fail("a\x1b[2J\nb")


def test_accepts_a_catalog_outside_a_checkout() -> None:
    done = subprocess.run(
        [sys.executable, "tools/add_paper.py", *ADD, "--dry-run", "--catalog", "/"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
