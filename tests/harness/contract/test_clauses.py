"""The contract accepts correct toy methods and detects those that break a promise."""

from __future__ import annotations

import random
from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch.nn.modules import module as global_hooks

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
def _restored_state(monkeypatch, tmp_path):
    """Restore the state that broken toys change."""
    of_python, of_numpy = random.getstate(), np.random.get_state()
    of_torch = torch.get_default_dtype(), torch.get_num_threads()
    precision = torch.get_float32_matmul_precision()
    monkeypatch.setattr(torch.nn.functional, "linear", torch.nn.functional.linear)
    monkeypatch.setattr(global_hooks, "_global_forward_hooks", OrderedDict())
    monkeypatch.chdir(tmp_path)
    with torch.random.fork_rng(), torch.set_grad_enabled(True):
        yield
    torch.set_default_dtype(of_torch[0])
    torch.set_num_threads(of_torch[1])
    torch.set_float32_matmul_precision(precision)
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
