"""Pytest plugin that keeps the outcome of each test in a file and does not repeat finished tests.

The file, named in ATLAS_TEST_OUTCOMES, has one JSON object per line. Failed tests are repeated.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest


def read(path: Path) -> dict[str, dict[str, str]]:
    """Return the last outcome of each test; an interrupted line at the end is ignored."""
    outcomes: dict[str, dict[str, str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            outcome = json.loads(line)
        except json.JSONDecodeError:
            continue
        outcomes[outcome["test"]] = outcome
    return outcomes


def _file() -> Path:
    return Path(os.environ["ATLAS_TEST_OUTCOMES"])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests that passed or were skipped before."""
    finished = {name for name, outcome in read(_file()).items() if outcome["outcome"] != "failed"}
    repeated = [item for item in items if item.nodeid in finished]
    items[:] = [item for item in items if item.nodeid not in finished]
    config.hook.pytest_deselected(items=repeated)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Write an outcome: of the call, or of a set-up or clean-up that did not pass."""
    if report.when != "call" and report.passed:
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
    outcome = {
        "test": report.nodeid,
        "outcome": report.outcome,
        "reason": reason.strip().rpartition("\n")[2][:300],
    }
    with _file().open("a", encoding="utf-8") as file:
        file.write(json.dumps(outcome) + "\n")
