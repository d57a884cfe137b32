"""Synthetic records for leaderboards."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest

from implementations.harness.results.record import Record


@pytest.fixture
def at(made_up: Callable[..., Record]) -> Callable[..., Record]:
    """Make a record of `method` with this perplexity on Wikipedia and twice as much on C4."""

    def make(method: str, share: float, wikipedia: float, **more: object) -> Record:
        words = f"{method}-{share}-{more.get('seed', 0)}"
        run = f"20261125T120000Z-{hashlib.sha256(words.encode()).hexdigest()[:8]}"
        plain = {
            "method": method,
            "configuration": {"sparsity": share},
            "requested": share,
            "achieved": share,
            "values": {"ppl/wikipedia/1024": wikipedia, "ppl/c4/1024": 2 * wikipedia},
        }
        return made_up(**{"run": run} | plain | more)

    return make
