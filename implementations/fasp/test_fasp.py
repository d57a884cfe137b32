"""FASP: scores, coupled units, the fit on calibration inputs, a real model."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from implementations.fasp import FASP
from implementations.fasp.fasp import column_scores
from implementations.harness import AtlasWarning, cuts
from implementations.harness.contract.pruned_model import rows_left
from implementations.harness.contract.tiny import MODEL_TYPES, random_tokens, tiny_model
from implementations.harness.model.units import count_weights, unit_costs
from tests.observation import inputs

pytestmark = pytest.mark.usefixtures("without_gradients")

every_family = pytest.mark.parametrize("family", list(MODEL_TYPES))


# The score


def test_column_scores_by_hand():
    linear = nn.Linear(3, 2, bias=False)
    linear.weight.copy_(torch.tensor([[1.0, -2.0, 0.0], [0.0, 1.0, 5.0]]))
    gram = torch.diag(torch.tensor([1.0, 10.0, 0.1]) ** 2)
    assert column_scores(linear, gram).tolist() == pytest.approx([1, 30, 0.5])


@every_family
def test_removes_groups_with_the_lowest_scores(family: str):
    # The units of the first block's attention, from what the dense model sees there.
    model, tokens = tiny_model(family), random_tokens()
    dense = copy.deepcopy(model)
    attention = dense.blocks[0].attention
    norms = inputs(dense, attention.o, tokens).double().norm(dim=0)
    by_column = attention.o.weight.double().abs().sum(dim=0) * norms
    size, group = attention.head_size, attention.group
    scores = []
    for row in range(attention.kv_heads * size):
        head, dim = divmod(row, size)
        columns = [(head * group + a) * size + dim for a in range(group)]  # at distance `size`
        scores.append(float(by_column[columns].sum()))
    outcome = FASP(sparsity=0.3).apply(model, tokens)
    lost = outcome.details["value_dims_lost"][0]
    assert lost > 0
    lowest = sorted(range(len(scores)), key=scores.__getitem__)[:lost]
    v = model.blocks[0].attention.v
    assert sorted(set(range(len(scores))) - set(lowest)) == v.rows.tolist()
    assert len(model.blocks[0].attention.o.columns) == (len(scores) - lost) * group


# Removal and fit


def assert_fitted(now: Tensor, was: Tensor, X: Tensor, kept: Tensor | list[int]) -> None:
    """Check that `now [out, kept]` is the fit of `was [out, in]` with the default damping.

    Where `||V X_K - W X||^2 + lambda ||V - W_K||^2` is least, its derivative is zero.
    """
    now, was, drawn = now.double(), was.double(), 0.01 * float(X.square().sum(dim=0).mean())
    residual = X @ was.T - X[:, kept] @ now.T  # [tokens, out]
    slope = residual.T @ X[:, kept] - drawn * (now - was[:, kept])
    assert float(slope.abs().max()) < 1e-4 * float((X.T @ X).abs().max() * was.abs().max())


@pytest.mark.parametrize("family", ["llama", "qwen2", "opt"])
def test_fit_is_least_squares_on_inputs_of_the_pruned_model(family: str):
    model, tokens = tiny_model(family), random_tokens(samples=12)
    dense = copy.deepcopy(model)
    FASP(sparsity=0.3).apply(model, tokens)
    for index, block in enumerate(model.blocks):
        # The same pruned stream before it, the layer itself dense: what the fit was made on.
        twin = copy.deepcopy(model)
        for i in range(index, len(model.blocks)):
            twin.layers[i] = copy.deepcopy(dense.layers[i])
        o = twin.blocks[index].attention.o
        X = inputs(twin, o, tokens).double()
        columns = block.attention.o.columns
        assert_fitted(block.attention.o.weight, o.weight, X, columns)
        # And down behind the pruned attention.
        twin.layers[index].self_attn = copy.deepcopy(block.module.self_attn)
        was, now = twin.blocks[index].feed_forward, block.feed_forward
        X = inputs(twin, was.down, tokens).double()
        left = rows_left(now.up, was.up)
        assert_fitted(now.down.weight, was.down.weight, X, left)


def test_without_the_fit_the_kept_columns_keep_their_weights():
    model = tiny_model()
    dense = copy.deepcopy(model)
    FASP(sparsity=0.3, restore=False).apply(model, random_tokens())
    for now, was in zip(model.blocks, dense.blocks, strict=True):
        o, down = now.attention.o, now.feed_forward.down
        assert torch.equal(o.weight, was.attention.o.weight[:, o.columns])
        left = rows_left(now.feed_forward.up, was.feed_forward.up)
        assert torch.equal(down.weight, was.feed_forward.down.weight[:, left])


def test_fewer_tokens_than_features_stay_finite():
    tokens = random_tokens(samples=1, length=8)
    outcome = FASP(sparsity=0.3).apply(tiny_model(), tokens)
    assert outcome.warnings == []
    with pytest.warns(AtlasWarning, match="Hessian not positive definite"):
        outcome = FASP(sparsity=0.3, damping=0).apply(tiny_model(), tokens)
    assert any(warning.startswith("block 0, down: ") for warning in outcome.warnings)


# Whole models


@every_family
def test_keeps_queries_and_keys_and_prunes_the_others_equally(family: str):
    model = tiny_model(family, blocks=3)
    dense = copy.deepcopy(model)
    outcome = FASP(sparsity=0.2).apply(model, random_tokens())
    for block, was in zip(model.blocks, dense.blocks, strict=True):
        assert torch.equal(block.attention.q.weight, was.attention.q.weight)
        assert torch.equal(block.attention.k.weight, was.attention.k.weight)
    weights = count_weights(dense).all
    unit = max(int(unit_costs(dense.blocks[0], kind).max()) for kind in FASP().kinds)
    assert abs(weights - count_weights(model).all - 0.2 * weights) <= unit / 2
    # The corrected rate: queries and keys take no part.
    qk = sum(b.attention.q.weight.numel() + b.attention.k.weight.numel() for b in dense.blocks)
    rate = 0.2 * weights / (weights - qk)
    block = dense.blocks[0]
    for kind, key in (("value-dims", "value_dims_lost"), ("channels", "channels_lost")):
        count = len(cuts(block, kind)[0].places)
        assert all(abs(lost - rate * count) < 1.01 for lost in outcome.details[key])


@pytest.mark.model
def test_on_real_blocks_the_fit_helps_once_it_is_damped_enough(first_blocks):
    # 4,096 tokens for 1,536 unknowns a row: with little damping it fits what only they say.
    fitted = first_blocks.error("fasp", sparsity=0.2, damping=1)
    assert 0 < fitted < first_blocks.error("fasp", sparsity=0.2, restore=False)
    assert fitted < first_blocks.error("random", sparsity=0.2) / 2
