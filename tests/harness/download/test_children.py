"""Programs that download are watched: what stands still or brings too much is stopped."""

import sys
import time

import pytest

from implementations.harness.download.children import run_watched
from implementations.harness.errors import Unavailable
from implementations.harness.progress import reporting

TRICKLE = """
import time
with open("file", "wb", buffering=0) as file:
    while True:
        file.write(b"x")
        time.sleep(0.01)
"""
STEADY = """
import time
with open("file", "wb", buffering=0) as file:
    for _ in range(8):
        file.write(bytes(1_000_000))
        time.sleep(0.5)
"""
LENGTH_FIRST = """
import time
with open("file", "wb", buffering=0) as file:
    file.truncate(10**9)
    for _ in range(8):
        file.write(b"x" * 1_000_000)
        time.sleep(0.5)
"""
AGAIN = """
import time
with open("file", "wb", buffering=0) as file:
    file.write(bytes(10_000_000))
    time.sleep(0.5)
    file.truncate(0)
    file.seek(0)
    for _ in range(8):
        file.write(bytes(1_000_000))
        time.sleep(0.5)
"""
FLOOD = """
with open("file", "wb") as file:
    for _ in range(100):
        file.write(bytes(1_000_000))
"""
EIGHT = "import pathlib; pathlib.Path('file').write_bytes(bytes(8_000_000))"
TIDY = """
import pathlib, signal, time
signal.signal(signal.SIGTERM, signal.default_int_handler)
pathlib.Path("half").touch()
try:
    time.sleep(600)
finally:
    pathlib.Path("half").unlink()
"""
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
time.sleep(600)
"""


def run(program, folder, **bounds):
    return run_watched([sys.executable, "-c", program], "a file", folder, **bounds)


def test_exit_code_and_words_come_back(tmp_path):
    assert run("print('said'); raise SystemExit(3)", tmp_path, patience=60) == (3, "said\n")


def test_of_many_words_the_last_are_kept(tmp_path):
    code, said = run("print('x' * 11_000_000); print('last')", tmp_path, patience=60)
    assert (code, len(said), said[-6:]) == (0, 10_000_000, "\nlast\n")


@pytest.mark.parametrize("program", [TRICKLE, TIDY, STUBBORN])
def test_what_stands_still_is_stopped(tmp_path, program):
    began = time.monotonic()
    with pytest.raises(Unavailable, match=r"a file: over 1 seconds less than 1 kB a second came"):
        run(program, tmp_path, patience=1)
    assert time.monotonic() - began < 10
    assert not (tmp_path / "half").exists()


@pytest.mark.parametrize("program", [STEADY, LENGTH_FIRST, AGAIN])
def test_what_takes_longer_than_patience_but_comes_is_left_alone(tmp_path, program):
    assert run(program, tmp_path, patience=2)[0] == 0


def test_what_brings_too_much_is_stopped(tmp_path):
    with pytest.raises(Unavailable, match="more than the 5,000,000 bytes came"):
        run(FLOOD, tmp_path, patience=60, most=5_000_000)


def test_only_what_is_new_counts(tmp_path):
    (tmp_path / "older").write_bytes(bytes(6_000_000))
    program = "import pathlib; pathlib.Path('link').symlink_to('older')"
    assert run(program, tmp_path, patience=60, most=5_000_000)[0] == 0


@pytest.mark.parametrize(("total", "steps"), [(3_500_000, 4), (None, 8)])
def test_the_bar_goes_no_further_than_its_end(tmp_path, total, steps):
    tasks = []

    class Listener:
        def start(self, description, total):
            tasks.append([description, total, 0])
            return 0

        def advance(self, task, steps):
            tasks[task][2] += steps

        def stop(self, task):
            pass

    with reporting(Listener()):
        run(EIGHT, tmp_path, patience=60, total=total)
    assert tasks == [["downloading a file", None if total is None else steps, steps]]
