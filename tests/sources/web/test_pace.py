"""The pauses between requests to one host."""

from __future__ import annotations

from collections.abc import Callable

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
def test_pauses_between_requests(
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
