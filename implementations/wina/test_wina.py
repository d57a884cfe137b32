"""WINA: scores and masks by hand, the rotated model, orthogonal columns, a real model."""

from __future__ import annotations

import copy
from itertools import combinations
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import linear as multiply

from implementations.harness import Block, Drop, Kept, LanguageModel
from implementations.harness.contract.helpers import logits
from implementations.harness.contract.prompts import written
from implementations.harness.contract.tiny import random_tokens, tiny_model
from implementations.wina import WINA, wina
from implementations.wina.wina import largest, rotate
from tests.observation import assert_search_decides, searches

pytestmark = pytest.mark.usefixtures("without_gradients")

CALIBRATION, OTHER = random_tokens(), random_tokens(3, 20, seed=1)
every_family = pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3"])


def rotated(family: str = "llama", **shape: Any) -> LanguageModel:
    model = tiny_model(family, **shape)
    rotate(model)
    return model


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


# Scores


def test_scores_by_hand():
    """With the sizes alone, the first input would be kept."""
    block = tiny_model().blocks[0]
    gate, drop = block.linears()["gate"], Drop(1, 0.5)
    gate.weight.zero_()
    gate.weight[0, :3] = torch.tensor([0.1, 3.0, 3.0])
    gate.weight[5, 1] = 4.0  # the norm of column 1 is 5, its sum 7
    x = torch.zeros(32)
    x[:3] = torch.tensor([-3.0, 1.0, 2.0])
    for method, kept in ((WINA(), 2), (WINA(score="size"), 0)):
        assert method.kept(block, "gate", drop)(x).nonzero().tolist() == [[kept]]


def test_only_k_and_gate_are_weighted():
    block = rotated().blocks[0]
    x = {role: noise(64, linear.in_features) for role, linear in block.linears().items()}
    drop = Drop(16, 0.5)
    differ = {
        role
        for role in x
        if not torch.equal(
            WINA().kept(block, role, drop)(x[role]),
            WINA(score="size").kept(block, role, drop)(x[role]),
        )
    }
    assert differ == {"k", "gate"}


def test_every_token_keeps_the_same_number():
    scores = noise(5, 7, 32).abs()
    for count in (0, 13, 32):
        mask = largest(scores, count)
        assert set(mask.sum(dim=-1).flatten().tolist()) == {count}
        if 0 < count < 32:
            assert (
                scores[mask].view(5, 7, -1).amin(-1).gt(scores[~mask].view(5, 7, -1).amax(-1)).all()
            )


@pytest.mark.parametrize("share", [0.3, 0.5])
def test_numbers_of_kept_inputs(share: float):
    limits = WINA(sparsity=share, allocation="uniform").apply(tiny_model(), CALIBRATION).details
    kept = {role: int(count) for role, count in limits["limits"][0].items()}
    assert kept == {role: int((1 - share) * (48 if role == "down" else 32)) for role in kept}


# Rotation


@every_family
def test_rotated_model_computes_the_same(family: str):
    dense, model = tiny_model(family), rotated(family)
    torch.testing.assert_close(logits(model), logits(dense), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        written(model, OTHER.ids), logits(dense, OTHER), rtol=1e-4, atol=1e-4
    )
    head = model.hf.get_output_embeddings()
    assert head is not None
    assert torch.equal(head.weight, dense.hf.get_output_embeddings().weight)


@every_family
def test_columns_of_k_and_gate_are_orthogonal(family: str):
    for block in rotated(family, blocks=3).blocks:
        for role, linear in block.linears().items():
            gram = linear.weight.T.double() @ linear.weight.double()
            aside = (gram - gram.diagonal().diag()).abs().max() / gram.diagonal().max()
            assert (aside < 1e-6) == (role in ("k", "gate")), role


def test_grouped_queries_need_few_inputs_of_k():
    """K has 16 rows here, so 16 of the 32 columns are zero after the rotation."""
    for block in rotated().blocks:
        norms = block.linears()["k"].weight.norm(dim=0)
        assert int((norms > 1e-5).sum()) == 16


def test_the_kept_inputs_are_the_best_of_all_sets():
    """The error of a set is the sum of its squared scores, because the columns are orthogonal."""
    gate = rotated().blocks[0].linears()["gate"].weight[:, :8].double()
    norms = gate.norm(dim=0)
    x = torch.tensor([1.0, 1.7, 1.2, 1.9, 1.1, 1.6, 1.3, 1.5]).double() / norms

    def error(kept: Any) -> float:
        mask = torch.zeros(8, dtype=torch.bool).index_fill(0, torch.tensor(kept), value=True)
        found = float((gate @ (x * ~mask)).square().sum())
        assert found == pytest.approx(float((x * norms)[~mask].square().sum()), rel=1e-5)
        return found

    best = min(combinations(range(8), 3), key=error)
    assert largest((x * norms).abs(), 3).nonzero().flatten().tolist() == list(best)
    assert largest(x.abs(), 3).nonzero().flatten().tolist() != list(best)


def test_the_kept_inputs_are_not_always_the_best_of_other_columns():
    """The first two columns cancel each other, so the third is missed most."""
    weight = torch.tensor([[2.0, -2.0, 1.0], [0.0, 0.0, 1.0]]).double()
    x, norms = torch.ones(3).double(), weight.norm(dim=0)

    def error(kept: tuple[int, ...]) -> float:
        mask = torch.zeros(3).index_fill(0, torch.tensor(kept), 1)
        return float((weight @ (x * (1 - mask))).square().sum())

    chosen = tuple(largest(x * norms, 1).nonzero().flatten().tolist())
    assert min(combinations(range(3), 1), key=error) == (2,) != chosen


def test_norms_matter_only_relative_to_each_other():
    block, drop, x = tiny_model().blocks[0], Drop(16, 0.5), noise(64, 32)
    gate = block.linears()["gate"]
    before = WINA().kept(block, "gate", drop)(x)
    gate.weight.mul_(4)
    assert torch.equal(WINA().kept(block, "gate", drop)(x), before)
    gate.weight.div_(gate.weight.norm(dim=0))
    assert torch.equal(WINA().kept(block, "gate", drop)(x), largest(x.abs(), 16))


def test_dropping_the_inputs_of_zero_columns_changes_no_key():
    for block in rotated().blocks:
        k, x = block.linears()["k"], noise(5, 32)
        silent = k.weight.norm(dim=0) < 1e-5
        torch.testing.assert_close(k(x), k(x.masked_fill(silent, 0)), rtol=0, atol=1e-4)


def test_keys_are_computed_from_the_inputs_with_the_largest_scores_in_the_rotated_model():
    model, seen = tiny_model(), []
    method = WINA(allocation="uniform", dense_prompt=False)
    method.apply(model, CALIBRATION)
    k = model.blocks[0].linears()["k"]
    k.register_forward_hook(lambda _, args, y: seen.append((args[0], y)))
    with method.active(model):
        logits(model, OTHER)
    x, keys = seen[0]
    kept = largest(x.abs() * k.weight.norm(dim=0), 16)
    torch.testing.assert_close(keys, multiply(x * kept, k.weight, k.bias), rtol=1e-4, atol=1e-5)


def test_achieved_sparsity_counts_the_added_matrices():
    model = tiny_model()
    total = sum(linear.weight.numel() for _, _, linear in model.linears())
    outcome = WINA(allocation="uniform").apply(model, CALIBRATION)
    assert outcome.unused == total / 2
    assert outcome.achieved == pytest.approx(0.5 - 2 * 2 * 32**2 / total)
    plain = WINA(allocation="uniform", rotate=False).apply(tiny_model(), CALIBRATION)
    assert plain.achieved == 0.5


@pytest.mark.model
def test_on_real_blocks_high_scores_matter_most(first_blocks: Any):
    """The rotation changes nothing; dropping the lowest scores less than dropping the highest."""

    class Highest(WINA):
        def kept(self, block: Block, role: str, drop: Drop) -> Kept:
            width = block.linears()[role].in_features
            dropped = super().kept(block, role, Drop(width - drop.limit, drop.share))
            return lambda x: ~dropped(x)

    errors = []
    for kind in (WINA, Highest):
        model, tokens = copy.deepcopy(first_blocks.dense), first_blocks.short
        dense = logits(model, tokens)
        method = kind(sparsity=0.2, allocation="uniform", dense_prompt=False)
        method.apply(model, tokens)
        torch.testing.assert_close(logits(model, tokens), dense, rtol=1e-3, atol=1e-2)
        with method.active(model):
            errors.append(float((logits(model, tokens) - dense).square().mean()))
    assert 0 < errors[0] < 0.1 * errors[1]


def test_the_search_reads_the_first_samples_and_decides_the_shares(monkeypatch: pytest.MonkeyPatch):
    found, model = searches(monkeypatch, wina), tiny_model(blocks=2)
    details = WINA(step=0.5, samples=2).apply(model, CALIBRATION).details
    assert_search_decides(model, CALIBRATION, found, details["shares"])
