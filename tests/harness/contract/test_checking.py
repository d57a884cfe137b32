"""`check_method` names the mistake of a wrong method and says what to do."""

from __future__ import annotations

import pytest
import torch

from implementations.harness import Capabilities, Ratio, WeightMethod, walk
from implementations.harness.contract.checking import ADVICE, check_method
from implementations.harness.contract.clause import CLAUSES
from implementations.harness.contract.tiny import MODEL_TYPES


class Correct(WeightMethod):
    """Zero the smallest weights."""

    capabilities = Capabilities(granularity=("unstructured",), calibration="none")

    sparsity: Ratio = 0.5

    def prune(self, model, calibration):
        for _, _, linear in model.linears():
            linear.weight.masked_fill_(self.choose(self.scores(linear.weight)), 0)

    def scores(self, weight):
        return weight.abs()


class WrongShare(Correct):
    """Zero too few weights."""

    def prune(self, model, calibration):
        for _, _, linear in model.linears():
            flat = linear.weight.view(-1)
            flat[flat.abs().argsort()[: int(0.6 * self.sparsity * len(flat))]] = 0


class TouchesEmbedding(Correct):
    """Scale the embedding as well."""

    def prune(self, model, calibration):
        super().prune(model, calibration)
        model.embedding.mul_(1.01)


class ForgetsHook(Correct):
    """Leave a hook on every layer."""

    capabilities = Capabilities(granularity=("unstructured",), calibration="forward")

    def prune(self, model, calibration):
        for block in walk(model, calibration):
            for linear in block.linears().values():
                linear.register_forward_pre_hook(lambda module, arguments: None)
                linear.weight.masked_fill_(self.choose(linear.weight.abs()), 0)


class NotSeeded(Correct):
    """Zero random weights by a generator that the harness does not seed."""

    def scores(self, weight):
        generator = torch.Generator()
        generator.seed()
        return torch.rand(weight.shape, generator=generator)


class ReadsBatches(Correct):
    """Zero weights depending on the batch size."""

    capabilities = Capabilities(granularity=("unstructured",), calibration="forward")

    def prune(self, model, calibration):
        for block in walk(model, calibration):
            for linear in block.linears().values():
                scores = linear.weight.abs().roll(calibration.batch_size, dims=-1)
                linear.weight.masked_fill_(self.choose(scores), 0)


class Lenient(Correct):
    """Accept any sparsity."""

    sparsity: float = 0.5


class Crashes(Correct):
    """Call torch with the wrong arguments."""

    def scores(self, weight):
        return torch.einsum("ij,jk->il", weight, weight)


@pytest.fixture(autouse=True)
def _one_family(monkeypatch):
    for family in list(MODEL_TYPES):
        if family != "llama":
            monkeypatch.delitem(MODEL_TYPES, family)


def failures(method):
    return {r.clause: r.failures[0].message for r in check_method(method) if r.failures}


def test_correct_method_passes():
    results = list(check_method(Correct))
    assert len(results) > 8
    assert all(not result.failures for result in results)
    assert all(result.promise.endswith(".") for result in results)


@pytest.mark.parametrize(
    ("method", "clause", "message"),
    [
        (WrongShare, "sparsity_is_met", "removed 0.1495 of the weights, 0.25 was asked for"),
        (TouchesEmbedding, "only_declared_parts_change", "changed (model.embed_tokens.weight)"),
        (ForgetsHook, "state_is_restored", "not restored: hooks (0 before, 14 after)"),
        (NotSeeded, "equal_seeds_give_equal_results", "two runs with one seed differ"),
        (
            NotSeeded,
            "blocks_are_opened_one_at_a_time",
            "the result differs if only one block is open at a time: ",
        ),
        (ReadsBatches, "batch_size_does_not_matter", "batches of 1 and 8 remove different weights"),
        (Lenient, "invalid_settings_and_weights_are_refused", "sparsity=1.5 was not refused"),
    ],
)
def test_mistake_is_named(method, clause, message):
    assert message in failures(method)[clause]


def test_half_precision_is_not_blamed_for_a_sparsity_that_fp32_misses_too():
    assert "half_precision_works" not in failures(WrongShare)


def test_check_stops_at_the_first_exception_and_shows_the_authors_line():
    *passed, last = check_method(Crashes)
    assert not any(result.failures for result in passed)
    (only,) = last.failures
    assert only.message.startswith("raised RuntimeError: einsum")
    assert "in test_checking.py, line" in only.message
    assert only.message.endswith('`return torch.einsum("ij,jk->il", weight, weight)`')
    assert last.advice.startswith("repair this exception first")


def test_every_clause_has_advice():
    assert ADVICE.keys() == {clause.name for clause in CLAUSES}
