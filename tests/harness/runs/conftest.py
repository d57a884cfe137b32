"""Setup of runs on the tiny model."""

from __future__ import annotations

import pytest

from implementations.harness.results.protocol import get_protocol
from implementations.harness.runs.job import Setup


@pytest.fixture(scope="session")
def setup(world) -> Setup:
    return Setup(model=str(world.model), protocol=get_protocol(str(world.protocol)))
