"""The `atlas` process: full and closed outputs, and Ctrl-C at any time."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from implementations.harness.cli import commands
from implementations.harness.cli.__main__ import run

REPOSITORY = Path(__file__).resolve().parents[3]
ATLAS = f"{sys.executable} -m implementations.harness.cli"

# Press Ctrl-C when Python starts to import a module, or when a record is serialised.
PRESSED = """
import os, signal, sys
{before}
from implementations.harness.cli.__main__ import main
signal.signal(signal.SIGINT, signal.default_int_handler)
main()
"""
AT_IMPORT = """
def press(event, details, left=[{times}]):
    if event == "import" and details[0] == {module!r} and left[0]:
        left[0] -= 1
        os.kill(os.getpid(), signal.SIGINT)
sys.addaudithook(press)
"""
AT_WRITING = """
from implementations.harness.prune.weight_method import NM
def press(pattern, left=[1]):
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGINT)
    return f"{pattern.keep}:{pattern.group}"
NM.__str__ = press
"""


def shell(line: str, **variables: str) -> subprocess.CompletedProcess[str]:
    plain = {"PYTHONPATH": str(REPOSITORY), "COLUMNS": "200", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        ["bash", "-c", line],
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        env=os.environ | plain | variables,
        check=False,
        timeout=300,
    )


def test_full_output_is_one_error_message():
    done = shell(f"{ATLAS} leaderboard > /dev/full")
    assert done.returncode == 1
    assert done.stderr == "error: cannot write the output: No space left on device\n"


def test_errors_of_libraries_are_not_taken_for_errors_of_the_output(monkeypatch):
    def broken(**_: object) -> None:
        raise OSError("libcuda.so: cannot open shared object file")

    monkeypatch.setattr(commands, "app", broken)
    with pytest.raises(OSError, match="libcuda"):
        run()


def test_closed_pipe_prints_no_error():
    done = shell(f"{ATLAS} leaderboard | head -0; echo ${{PIPESTATUS[0]}}")
    assert (done.stdout, done.stderr) == ("1\n", "")


def test_lists_and_unknown_names_do_not_import_torch():
    program = """
import sys
from typer.testing import CliRunner
from implementations.harness.cli.commands import app
for words in ("methods", "leaderboard", "run nosuch", "sweep wanda nosuch", "run wanda --seed x"):
    print(CliRunner().invoke(app, words.split()).exit_code, end=" ")
print(*({"torch", "transformers"} & {*sys.modules}))
"""
    assert shell(shlex.join([sys.executable, "-c", program])).stdout == "0 0 2 2 2 \n"


def pressed(before: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-c", PRESSED.format(before=before), *map(str, arguments)]
    return shell(shlex.join(program))


@pytest.mark.parametrize("module", ["typer", "torch"])
def test_ctrl_c_during_imports(module, tmp_path):
    words = ("run", "wanda", "--runs", tmp_path / "runs")
    done = pressed(AT_IMPORT.format(module=module, times=1), *words)
    assert done.returncode == 130
    assert done.stderr == "error: interrupted; unfinished results were not written\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.full
def test_ctrl_c_while_a_record_is_serialised(world, tmp_path):
    """Pydantic replaces any exception of a serializer by its own."""
    words = ("run", "wanda", "--pattern", "2:4", "--protocol", world.protocol)
    done = pressed(AT_WRITING, *words, "--runs", tmp_path / "runs", "--json")
    assert done.returncode == 130, done.stderr
    assert done.stderr == "error: interrupted; unfinished results were not written\n"
    assert done.stdout == ""
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path.name for path in left] == ["tiny-dense.json"]
    for path in left:
        json.loads(path.read_text())


def test_second_ctrl_c_does_not_interrupt_the_clean_up():
    program = """
import os, signal
from implementations.harness.cli.__main__ import Interrupts
signal.signal(signal.SIGINT, signal.default_int_handler)
interrupts = Interrupts()
try:
    try:
        os.kill(os.getpid(), signal.SIGINT)
    finally:
        os.kill(os.getpid(), signal.SIGINT)  # second press
        print("cleaned up")
except KeyboardInterrupt:
    print("ended", interrupts.count)
"""
    done = shell(shlex.join([sys.executable, "-c", program]))
    assert done.stdout == "cleaned up\nended 2\n", done.stderr
