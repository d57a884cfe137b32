"""Workers on Ray: a real local cluster with two CPUs that other machines cannot reach."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest

from implementations.harness.errors import Unavailable
from implementations.harness.prune.registry import get_method
from implementations.harness.results.store import load_records
from implementations.harness.runs import workers
from implementations.harness.runs.job import Job
from implementations.harness.runs.sweep import sweep
from implementations.harness.runs.verify import compare
from tests.conftest import REPOSITORY
from tests.harness.runs.odd_jobs import ODD_JOBS, check_odd_jobs, make_square

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(
        find_spec("ray") is None, reason="Ray is not installed: pip install 'pruning-atlas[scale]'"
    ),
]


@pytest.fixture(scope="module")
def ray_folder() -> Iterator[Path]:
    """Return the folder that Ray writes to, with everything that reaches further disabled."""
    assert "ray" not in sys.modules  # Ray reads some of these variables when it is imported
    folder = Path(tempfile.mkdtemp(prefix="ray"))  # paths of sockets must be short
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", str(folder))
        patch.setenv("RAY_AUTH_MODE", "disabled")  # otherwise it writes a token to the home folder
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")  # otherwise it sends usage statistics
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # makes it listen on loopback only
        patch.setenv("PYTHONPATH", str(REPOSITORY))  # for the workers
        patch.delenv("RAY_ADDRESS", raising=False)
        yield folder
    assert processes(folder) == []
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def cluster(ray_folder: Path) -> Iterator[Any]:
    """Start a cluster and set RAY_ADDRESS to its address."""
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    cluster.add_node(
        num_cpus=2,
        include_dashboard=False,
        node_ip_address="127.0.0.1",
        object_store_memory=100_000_000,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", cluster.address)
        yield cluster
    started = processes(ray_folder)
    cluster.shutdown()
    psutil.wait_procs(started, timeout=60)


def processes(folder: Path) -> list[psutil.Process]:
    """Return the running Ray processes that write to `folder`."""
    running = []
    for process in psutil.process_iter():
        try:
            uses_folder = process.environ().get("RAY_TMPDIR") == str(folder)
            if uses_folder and process.status() != psutil.STATUS_ZOMBIE:
                running.append(process)
        except psutil.Error:  # not permitted, or the process has ended
            continue
    return running


def listening(started: list[psutil.Process]) -> set[str]:
    """Return the addresses at which the processes accept connections."""
    addresses = set()
    for process in started:
        with suppress(psutil.Error):  # the process has ended
            connections = process.net_connections("tcp")
            addresses |= {c.laddr.ip for c in connections if c.status == psutil.CONN_LISTEN}
    return addresses


def make_address_job(number: int) -> Any:
    """Return a job function that returns the address of the worker's cluster."""

    def address(job: int) -> str:
        import ray

        return str(ray.get_runtime_context().gcs_address)

    return address


def test_ray_gives_the_same_records_as_one_process(setup, cluster, tmp_path):
    jobs = [
        Job(None),
        *(Job(get_method(name).configure()) for name in ("magnitude", "wanda")),
        Job(get_method("shortgpt").configure(sparsity=0.5)),
        Job(get_method("wanda").configure(pattern="2:5")),
    ]
    here = sweep(jobs, setup, runs=tmp_path / "here")
    there = sweep(jobs, setup, runs=tmp_path / "there", count=2, ray=True)
    ((failed, why),) = there.failures
    assert (failed, why) == here.failures[0]
    assert "does not divide" in why
    assert [record.method for record in there.records] == [
        "dense",
        "magnitude",
        "wanda",
        "shortgpt",
    ]
    for one, other in zip(here.records, there.records, strict=True):
        assert (one.key, one.name, one.values.keys()) == (
            other.key,
            other.name,
            other.values.keys(),
        )
        assert compare(one, other).agrees
    assert len(load_records([tmp_path / "there"])) == 4


def test_job_that_always_kills_its_worker_does_not_affect_the_others(cluster):
    # One worker more than CPUs: it starts when another has finished.
    check_odd_jobs(workers.on_ray(ODD_JOBS, make_square, 3, accelerators=0))


def test_cluster_of_ray_address_is_used_and_left_running(cluster):
    import ray

    (done,) = workers.on_ray([0], make_address_job, 1, accelerators=0)
    assert done.result == cluster.address
    assert not ray.is_initialized()
    assert cluster.head_node.remaining_processes_alive()


def test_new_local_cluster_is_unreachable_and_leaves_nothing(world, start, ray_folder, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    with tempfile.TemporaryDirectory(prefix="ray") as own:  # paths of sockets must be short
        settings = {"HOME": str(home), "RAY_ADDRESS": "", "RAY_TMPDIR": own}
        usual = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1", "RAY_AUTH_MODE": "token"}
        process = start(
            *("sweep", "magnitude", "wanda", "--ray", "--workers", 2),
            *("--protocol", world.protocol, "--runs", tmp_path / "runs"),
            variables=settings | usual,
        )
        addresses: set[str] = set()
        while process.poll() is None:
            addresses |= listening(processes(Path(own)))
            time.sleep(0.2)
        _, err = process.communicate(timeout=300)
        psutil.wait_procs(processes(Path(own)), timeout=60)  # some may still be ending
        assert processes(Path(own)) == []
    assert process.returncode == 0, err
    assert addresses <= {"127.0.0.1", "::ffff:127.0.0.1"}
    assert addresses
    assert len(load_records([tmp_path / "runs"])) == 3
    assert list(home.iterdir()) == []


def test_jobs_end_when_ray_stops_on_this_machine(ray_folder, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "of this test")  # so that it is unset after the test
    for name in ("initial_delay", "period", "timeout"):  # Ray reacts in one second instead of 20
        monkeypatch.setenv(f"RAY_health_check_{name}_ms", "300")
    monkeypatch.setattr(workers, "NODE_CHECK", 0.5)
    before = psutil.Process().children(recursive=True)
    stream = workers.on_ray([1, "sleep"], make_square, 1, accelerators=0)
    assert next(stream).result == 1
    started = [p for p in psutil.Process().children(recursive=True) if p not in before]
    next(process for process in started if process.name() == "raylet").kill()
    with pytest.raises(Unavailable, match="Ray stopped on this machine"):
        next(stream)
    psutil.wait_procs(started, timeout=60)


def test_refuses_unreachable_cluster(ray_folder, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "nonsense")
    with pytest.raises(Unavailable, match="RAY_ADDRESS: cannot connect to the Ray cluster nonse"):
        next(workers.on_ray([1], make_square, 1, accelerators=0))
