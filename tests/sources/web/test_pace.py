"""Requests to one host keep their distance, also those of two processes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tools.sources.lookup.queries import fetch
from tools.sources.names.references import Reference
from tools.sources.web.client import Client

Connect = Callable[..., Client]


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
    slept: list[float],
) -> None:
    client, (scheme, *values) = connect(), paths
    for value in values:
        fetch(Reference(scheme, value), client)
    assert sum(slept) == pytest.approx(pause, abs=0.9)
    assert sum(slept) > 0


def test_two_processes_keep_it_too(connect: Connect, slept: list[float], tmp_path: Path) -> None:
    fetch(Reference("arxiv", "2301.00774"), connect(tmp_path))
    fetch(Reference("arxiv", "2306.11695"), connect(tmp_path))
    assert sum(slept) > 2


def test_a_clock_set_back_costs_one_pause_at_most(
    connect: Connect, slept: list[float], tmp_path: Path
) -> None:
    last = tmp_path / "export.arxiv.org.last"
    last.touch()
    os.utime(last, (4e9, 4e9))
    fetch(Reference("arxiv", "2301.00774"), connect(tmp_path))
    assert sum(slept) == 3
