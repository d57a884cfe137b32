"""Clauses about sparsity: zero, the requested one, the maximum, and N:M patterns."""

from __future__ import annotations

import math

import torch

from implementations.harness.contract.clause import clause
from implementations.harness.contract.helpers import (
    PATTERNS,
    apply,
    calibration_for,
    configured,
    difference,
    fingerprint,
    pruned,
    reference,
    refusal,
    same,
    shares,
    takes_patterns,
)
from implementations.harness.contract.tiny import tiny_model
from implementations.harness.model.units import count_weights
from implementations.harness.prune.method import Method
from implementations.harness.prune.weight_method import parse_pattern, share_of

SHARES = (0.25, 0.5, 0.75)  # give whole numbers of weights in the rows of the tiny models
LEAST_MAXIMUM = 0.1
"""Every method can remove this share of a tiny model."""


@clause(
    "methods that train neither weights nor factors",
    when=lambda method: not method.capabilities.changes_all_weights,
)
def zero_sparsity_changes_nothing(method: type[Method], family: str) -> None:
    """A sparsity of zero changes no bit of the model."""
    model = tiny_model(family)
    before = fingerprint(model)
    outcome = apply(method, model, sparsity=0)
    after = fingerprint(model)
    assert same(before, after), f"a sparsity of 0 changed the model: {difference(before, after)}"
    assert outcome.requested == outcome.achieved == 0
    assert outcome.bits is None


@clause(
    "methods that train weights or factors",
    when=lambda method: method.capabilities.changes_all_weights,
)
def zero_sparsity_removes_nothing(method: type[Method], family: str) -> None:
    """With a sparsity of zero, every layer keeps its shape and gets no zeros."""
    model = tiny_model(family)
    shapes = {name: tensor.shape for name, tensor in fingerprint(model).items()}
    outcome = apply(method, model, sparsity=0)
    assert {name: tensor.shape for name, tensor in fingerprint(model).items()} == shapes
    assert outcome.requested == outcome.achieved == 0


@clause(every=True)
def sparsity_is_met(method: type[Method], family: str) -> None:
    """The requested sparsity is met exactly, or for units within half of the largest unit.

    Methods that quantise, and no others, report the bits per weight.
    """
    for share in shares(method, tiny_model(family, blocks=4), *SHARES):
        _assert_met(method, family, share)


@clause()
def maximum_sparsity_is_met_and_more_is_refused(method: type[Method], family: str) -> None:
    """The method reaches its maximum sparsity; a higher one is refused, naming the maximum."""
    model = tiny_model(family)
    before = fingerprint(model)
    everything = configured(method, sparsity=1)
    limit = everything.max_sparsity(model)
    # The other clauses ask for no more than the maximum, so a low one would empty them.
    assert limit >= LEAST_MAXIMUM, f"`max_sparsity` is {limit:.4g}, below {LEAST_MAXIMUM}"
    if limit < 1:
        message = refusal(everything.apply, model, calibration_for(method))
        assert f"at most {math.floor(1e4 * limit) / 1e4:g} of its weights" in message
        assert same(before, fingerprint(model))
    _assert_met(method, family, limit, blocks=2)


@clause("methods that know N:M patterns", when=takes_patterns)
def patterns_hold_in_every_group(method: type[Method], family: str) -> None:
    """N:M holds in every group of every row, for 1:4, 2:4 and 4:8."""
    for text in PATTERNS:
        pattern = parse_pattern(text)
        for _, _, linear in pruned(method, family, pattern=text).linears():
            groups = linear.weight.unflatten(1, (-1, pattern.group))  # [out, groups, group]
            holds = bool((groups.count_nonzero(dim=-1) == pattern.keep).all())
            assert holds, f"a group does not keep {pattern.keep} of {pattern.group} weights"


@clause("methods that quantise", when=lambda method: method.capabilities.quantises)
def layers_have_few_distinct_values(method: type[Method], family: str) -> None:
    """Bits per weight are below those of the dtype, and layers have few distinct values."""
    done = reference(method, family)
    bits = done.outcome.bits
    assert bits is not None, "`prune` returned no `bits`"
    for _, _, linear in done.model.linears():
        assert 0 < bits < 8 * linear.weight.itemsize
        assert len(linear.weight.unique()) < linear.weight.numel() / 2


@clause("methods that know N:M patterns", when=takes_patterns)
def pattern_that_does_not_divide_is_refused(method: type[Method], family: str) -> None:
    """A pattern that does not divide a layer is refused, naming block and layer."""
    model = tiny_model(family)
    before = fingerprint(model)
    message = refusal(configured(method, pattern="3:7").apply, model, calibration_for(method))
    assert "3:7" in message
    assert "block 0, q" in message
    assert same(before, fingerprint(model))


def _assert_met(method: type[Method], family: str, share: float, blocks: int = 4) -> None:
    model = tiny_model(family, blocks=blocks)
    dense = count_weights(model)
    asked = configured(method, sparsity=share)
    allowed, added = asked.largest_unit(model) / 2, asked.added_weights(model)
    rounded = 0.0
    if not method.capabilities.structured:  # `choose` may round down in every row
        matrices = [linear.weight.shape for _, _, linear in model.linears()]
        rounded = share * dense.all - sum(out * share_of(share, width) for out, width in matrices)
    outcome = asked.apply(model, calibration_for(method))
    left = count_weights(model)
    removed = dense.all - (left.all if method.capabilities.structured else left.nonzero)
    excess = removed + added - share * dense.all
    met = -allowed - rounded - 1e-6 <= excess <= allowed + 1e-6
    assert met, f"removed {removed / dense.all:.4g} of the weights, {share:.4g} was asked for"
    assert outcome.requested == share
    reported = (outcome.bits is not None) == method.capabilities.quantises
    assert reported, "`prune` must return `bits` if and only if the method declares `quantises`"
    right = abs(outcome.achieved * dense.all - removed) < 1e-3
    assert right, f"reported a sparsity of {outcome.achieved:.4g}, not {removed / dense.all:.4g}"
    assert bool(torch.tensor(outcome.achieved).isfinite())
