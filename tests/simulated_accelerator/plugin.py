"""Pytest plugin that simulates an accelerator on machines without one.

    python -m pytest -p tests.simulated_accelerator.plugin -m gpu tests/harness

A process with the device cannot lose it again, so tests without an accelerator run in another one.
"""

from __future__ import annotations

import os

import pytest
import torch

from tests.simulated_accelerator import device

REQUIRED = "REQUIRE_SIMULATED_ACCELERATOR"
PROBLEM = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    """Register the device before tests are imported."""
    if torch.accelerator.is_available() and not os.environ.get(REQUIRED):
        return
    try:
        device.register()
    except OSError as error:
        if os.environ.get(REQUIRED):
            raise pytest.UsageError(f"{REQUIRED} is set, but: {error}") from error
        config.stash[PROBLEM] = str(error)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip all tests if the device could not be compiled."""
    problem = config.stash.get(PROBLEM, None)
    if problem:
        for item in items:
            item.add_marker(pytest.mark.skip(reason=problem))
