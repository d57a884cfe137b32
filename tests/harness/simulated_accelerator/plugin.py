"""Pytest plugin that simulates an accelerator on machines without one.

    python -m pytest -p tests.harness.simulated_accelerator.plugin -m gpu tests/harness

The device stays until the process ends, so tests that expect none need another process.
"""

from __future__ import annotations

import pytest
import torch

from tests.harness.simulated_accelerator import device


def pytest_configure(config: pytest.Config) -> None:
    """Register the device before tests are imported."""
    if not torch.accelerator.is_available():
        device.register()
    # A view computed by the CPU would not share memory with its base.
    config.addinivalue_line("filterwarnings", "error:.*appears to be a view operator")
