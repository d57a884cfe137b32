"""Workers on this machine: failing jobs, dying workers, and the end of the main process."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from implementations.harness.progress import reporting
from implementations.harness.runs import workers
from tests.harness.runs.odd_jobs import ODD_JOBS, Changed, check_odd_jobs, make_square
from tests.harness.test_progress import Recorder

pytestmark = pytest.mark.full


def test_job_that_always_kills_its_worker_does_not_affect_the_others():
    done = list(workers.in_processes(ODD_JOBS, make_square, 2))
    check_odd_jobs(done)
    assert "SIGKILL" in next(one.error for one in done if one.index == 3)


def test_job_of_a_killed_worker_is_retried_and_progress_is_shown(tmp_path):
    jobs = ["count", tmp_path / "deaths", "rename"]
    shown = Recorder()
    with reporting(shown):
        done = list(workers.in_processes(jobs, make_square, 1))
    assert [(one.index, one.result, one.error) for one in done] == [
        (0, 3, None),
        (2, 0, None),
        (1, 1, None),  # retried last
    ]
    assert shown.open == {}
    assert shown.ended == [
        ("worker 1: counting", 3, 3),
        ("worker 1: dying", 0, None),
        ("worker 1: new name", 2, 5),
    ]


def test_error_of_unpickling_is_one_of_the_job():
    done = list(workers.in_processes([2, Changed()], make_square, 1))
    assert [(one.result, one.error) for one in done] == [
        (4, None),
        (None, "the method changed while it was used"),
    ]


def test_failed_job_in_this_process_does_not_affect_the_others():
    jobs = [job for job in ODD_JOBS if job != "die"]
    done = list(workers.in_this_process(jobs, make_square(0)))
    assert [one.result for one in done] == [1, None, 4, 9, None, 16]


def test_no_jobs_start_no_workers():
    assert list(workers.in_processes([], make_square, 2)) == []


def test_workers_end_when_the_iterator_is_closed():
    stream = workers.in_processes(list(range(6)), make_square, 2)
    assert next(stream).error is None
    stream.close()
    assert multiprocessing.active_children() == []


BLOCKED = """
from implementations.harness.runs import workers
from tests_of_workers import make_blocked
print([done.result for done in workers.in_processes([0, 1], make_blocked, 2)])
"""

SIGNALS = """
import signal
def work(job):
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())
def make_blocked(number):
    return work
"""


def script(tmp_path, main: str, jobs: str) -> subprocess.Popen:
    """Start a new Python with `main` in which `jobs` is the module `tests_of_workers`."""
    (tmp_path / "tests_of_workers.py").write_text(jobs)
    root = Path(__file__).resolve().parents[3]
    return subprocess.Popen(
        [sys.executable, "-c", main],
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(root), str(tmp_path)])},
    )


def test_no_worker_sees_ctrl_c(tmp_path):
    # In a new Python, because the first process that one starts is special to `multiprocessing`.
    out, _ = script(tmp_path, BLOCKED, SIGNALS).communicate(timeout=300)
    assert out == "[True, True]\n"


ORPHANS = """
from implementations.harness.runs import workers
from tests_of_workers import make_endless
for done in workers.in_processes([0, 1, 2], make_endless, 2):
    print(done.result, flush=True)
"""

ENDLESS = """
import os, time
def work(job):
    while job:
        time.sleep(0.01)
    return os.getpid()
def make_endless(number):
    return work
"""


def test_workers_end_when_the_main_process_is_killed(tmp_path):
    process = script(tmp_path, ORPHANS, ENDLESS)
    assert psutil.pid_exists(int(process.stdout.readline()))
    process.kill()
    # The workers inherited the output, so it closes when the last of them has ended.
    process.communicate(timeout=300)


def test_ctrl_c_is_delayed_while_a_process_starts():
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with workers._interrupts_blocked():
        assert signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
