"""A new method folder is tested, listed, shown and run without other changes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.full

REPOSITORY = Path(__file__).resolve().parent.parent

INIT = '''
"""Toy."""

from implementations.toy.toy import Toy

__all__ = ["Toy"]
'''

METHOD = '''
"""Toy: remove the weights of each row that come first."""

from implementations.harness import Capabilities, LanguageModel, Method, Ratio, Tokens, share_of


class Toy(Method):
    """Zero the first weights of every row."""

    capabilities = Capabilities(
        granularity=("unstructured",),
        calibration="none",
        refuses={"opt": "its biases are not thought of"},
    )

    sparsity: Ratio = 0.5
    """Share of each row to zero."""
    reverse: bool = False
    """Start from the last weight instead."""

    def prune(self, model: LanguageModel, calibration: Tokens) -> None:
        """Zero them."""
        for _, _, linear in model.linears():
            count = share_of(self.sparsity, linear.in_features)
            start = linear.in_features - count if self.reverse else 0
            linear.weight[:, start : start + count] = 0
'''

README = """
# Toy

## Differences from the paper

1. **There is no paper.** It is made up.
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the implementations with one more folder."""
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copytree(
        REPOSITORY / "implementations",
        folder / "implementations",
        ignore=shutil.ignore_patterns("records", "__pycache__"),
    )
    shutil.copy(REPOSITORY / "pyproject.toml", folder)
    toy = folder / "implementations" / "toy"
    toy.mkdir()
    (toy / "__init__.py").write_text(INIT)
    (toy / "toy.py").write_text(METHOD)
    (toy / "README.md").write_text(README)
    return folder


def run(checkout: Path, *words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *map(str, words)],
        cwd=checkout,
        env=os.environ | {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_contract_tests_the_new_method(checkout):
    done = run(checkout, "pytest", "implementations/toy", "-q", "-rA", "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout
    assert "sparsity_is_met[llama]" in done.stdout
    assert "refused_family_names_the_reason[opt]" in done.stdout
    assert "sparsity_is_met[opt]" not in done.stdout


def test_command_lists_and_shows_the_method(checkout):
    listed = run(checkout, "implementations.harness.cli", "methods", "--json")
    assert "toy" in [method["slug"] for method in json.loads(listed.stdout)]
    shown = run(checkout, "implementations.harness.cli", "methods", "toy").stdout
    for words in ("reverse", "Start from the last weight instead", "There is no paper"):
        assert words in shown


def test_command_runs_the_method(checkout, world, tmp_path):
    done = run(
        checkout,
        "implementations.harness.cli",
        *("run", "toy", "--sparsity", 0.25, "--set", "reverse=true", "--json"),
        *("--protocol", world.protocol, "--runs", tmp_path),
    )
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["configuration"] == {"sparsity": 0.25, "reverse": True}
    assert record["achieved"] == 0.25
