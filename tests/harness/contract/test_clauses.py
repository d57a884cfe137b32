"""The contract passes toy methods that keep it and finds out those that break one promise."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from implementations.harness.contract.cases import Case, cases
from implementations.harness.contract.clause import CLAUSES
from implementations.harness.model.families import FAMILIES
from tests.harness.contract.broken import BREAKING
from tests.harness.contract.toys import KEEPING, First

FAMILIES_OF_TOYS = ("llama", "opt", "gpt2")  # the common layout, the odd one, an unknown one
NAMED = {clause.name: clause for clause in CLAUSES}


@pytest.fixture(autouse=True)
def _tidied():
    """Put back what broken toys leave behind in the program."""
    ours, numpys = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(), torch.set_grad_enabled(True):
        yield
    random.setstate(ours)
    np.random.set_state(numpys)


@pytest.mark.parametrize("method", KEEPING, ids=lambda method: method.__name__)
def test_a_method_that_keeps_it_passes(method):
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
def test_a_broken_promise_is_found(name, method):
    covered = {case.clause.name: case for case in cases(method) if case.family == "llama"}
    with pytest.raises(AssertionError):
        covered[name].check()


def test_a_family_without_an_adapter_that_is_served_is_found(monkeypatch):
    monkeypatch.setitem(FAMILIES, "gpt2", FAMILIES["llama"])
    with pytest.raises(AssertionError, match="was not refused"):
        Case(NAMED["unsupported_family_is_named"], First, "gpt2").check()


def test_every_clause_is_shown_to_find_something():
    assert {*BREAKING, "unsupported_family_is_named"} == NAMED.keys()
