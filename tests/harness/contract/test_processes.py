"""Same seed, same result, also in a program of its own, whatever Python hashes strings to."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys

import pytest
from torch import Tensor

from implementations.harness import Method, PromptMethod, get, methods
from implementations.harness.contract.probes import afterwards, fingerprint, pruned
from implementations.harness.contract.tiny import tiny_model
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.full

ELSEWHERE = """
import json
from tests.harness.contract.test_processes import hashes
print(json.dumps([hash("a"), hashes()]))
"""


def hashes() -> dict[str, str]:
    """Prune a tiny model by every method and hash all its weights, or what follows a prompt."""
    found = {}
    for slug in methods():
        digest = hashlib.sha256()
        for name, tensor in left_by(get(slug)).items():
            digest.update(
                f"{name} {list(tensor.shape)}".encode() + tensor.detach().numpy().tobytes()
            )
        found[slug] = digest.hexdigest()
    return found


def left_by(method: type[Method]) -> dict[str, Tensor]:
    """Return the weights that a method leaves, or logits where it only follows prompts."""
    if issubclass(method, PromptMethod):
        return {"logits": afterwards(method, tiny_model())}
    return fingerprint(pruned(method, "llama"))


def test_every_method_gives_the_same_weights_in_another_process():
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "PYTHONHASHSEED": "20260"},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    other, theirs = json.loads(done.stdout)
    assert other != hash("a")
    assert theirs == hashes()
