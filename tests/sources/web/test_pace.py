"""Requests to one host keep their distance, also those of two processes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from filelock import FileLock

from tools.sources.lookup.queries import fetch
from tools.sources.names.references import Reference
from tools.sources.web import errors
from tools.sources.web.client import Client

Connect = Callable[..., Client]
HOST = "api.crossref.org"
FLAP = Reference("doi", "10.1609/aaai.v38i10.28960")


@pytest.mark.parametrize(
    ("paths", "pause"),
    [
        (("arxiv", "2301.00774", "2306.11695"), 3),
        (("pmlr", "v202/frantar23a", "v267/guo25a"), 1),
    ],
)
def test_requests_keep_their_distance(
    paths: tuple[str, str, str],
    pause: float,
    connect: Connect,
    clock: SimpleNamespace,
) -> None:
    client, (scheme, *values) = connect(), paths
    for value in values:
        fetch(Reference(scheme, value), client)
    assert sum(clock.slept) == pytest.approx(pause, abs=0.9)
    assert sum(clock.slept) > 0


def test_two_processes_keep_it_too(
    connect: Connect, clock: SimpleNamespace, tmp_path: Path
) -> None:
    fetch(Reference("arxiv", "2301.00774"), connect(tmp_path))
    fetch(Reference("arxiv", "2306.11695"), connect(tmp_path))
    assert sum(clock.slept) > 2


def test_a_clock_set_back_costs_one_pause_at_most(
    connect: Connect, clock: SimpleNamespace, tmp_path: Path
) -> None:
    (tmp_path / "export.arxiv.org.turn").write_text("4000000000.0")
    fetch(Reference("arxiv", "2301.00774"), connect(tmp_path))
    assert sum(clock.slept) == 3


def test_a_queue_has_an_end(connect: Connect, tmp_path: Path) -> None:
    client = connect(tmp_path, patience=0.2)
    with (
        FileLock(tmp_path / f"{HOST}.lock", thread_local=False),
        pytest.raises(errors.SourceError, match="another process has been asking"),
    ):
        fetch(FLAP, client)
