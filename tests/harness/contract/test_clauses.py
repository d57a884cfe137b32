"""The contract accepts correct toy methods and detects those that break a promise."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from implementations.harness.contract.cases import Case, cases
from implementations.harness.contract.clause import CLAUSES
from implementations.harness.contract.helpers import first_family
from implementations.harness.model.view import FAMILIES
from tests.harness.contract.broken import BREAKING
from tests.harness.contract.toys import CORRECT, First

# Two different layouts, a mixture of experts, and an unknown family.
FAMILIES_OF_TOYS = ("llama", "opt", "mixtral", "gpt2")
NAMED = {clause.name: clause for clause in CLAUSES}


@pytest.fixture(autouse=True)
def _restored_state():
    """Restore the state that broken toys change."""
    of_python, of_numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(), torch.set_grad_enabled(True):
        yield
    random.setstate(of_python)
    np.random.set_state(of_numpy)


@pytest.mark.parametrize("method", CORRECT, ids=lambda method: method.__name__)
def test_correct_method_passes(method):
    covering = [case for case in cases(method) if case.family in FAMILIES_OF_TOYS]
    assert len(covering) > 10
    for case in covering:
        case.check()


@pytest.mark.parametrize(
    ("name", "method"),
    [
        pytest.param(name, method, id=f"{name}-{how}")
        for name, methods in BREAKING.items()
        for how, method in methods.items()
    ],
)
def test_broken_promise_is_detected(name, method):
    family = first_family(method)
    covered = {case.clause.name: case for case in cases(method) if case.family == family}
    with pytest.raises(AssertionError):
        covered[name].check()


def test_support_of_unknown_family_is_detected(monkeypatch):
    monkeypatch.setitem(FAMILIES, "gpt2", FAMILIES["llama"])
    with pytest.raises(AssertionError, match="was not refused"):
        Case(NAMED["unsupported_family_is_refused"], First, "gpt2").check()


def test_every_clause_has_a_broken_toy():
    assert {*BREAKING, "unsupported_family_is_refused"} == NAMED.keys()
