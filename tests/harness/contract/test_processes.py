"""Equal seeds give equal results in another process with another hash seed."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys

import pytest
from torch import Tensor

from implementations.harness import Method, get_method, methods
from implementations.harness.contract.helpers import (
    fingerprint,
    first_family,
    pruned,
    pruned_logits,
)
from implementations.harness.contract.tiny import tiny_model
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.full

ELSEWHERE = """
import json
from tests.harness.contract.test_processes import hashes
print(json.dumps([hash("a"), hashes()]))
"""


def hashes() -> dict[str, str]:
    """Prune a tiny model with every method and hash its weights, or the logits after a prompt."""
    found = {}
    for slug in methods():
        digest = hashlib.sha256()
        for name, tensor in result_of(get_method(slug)).items():
            digest.update(
                f"{name} {list(tensor.shape)}".encode() + tensor.detach().numpy().tobytes()
            )
        found[slug] = digest.hexdigest()
    return found


def result_of(method: type[Method]) -> dict[str, Tensor]:
    """Return the weights of a pruned model, or the logits of a method that acts while it runs."""
    if method.capabilities.when == "input-dependent":
        return {"logits": pruned_logits(method, tiny_model())}
    return fingerprint(pruned(method, first_family(method)))


def test_methods_give_equal_weights_in_another_process():
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
