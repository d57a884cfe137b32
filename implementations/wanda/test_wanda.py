"""Wanda: masks by hand, the effect of input norms, the walk, and the real model."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from implementations.harness import BadInput, ColumnNorm, NumericsError
from implementations.harness.contract.tiny import random_tokens, tiny_model
from implementations.harness.data.tokens import Tokens
from implementations.harness.model.view import LanguageModel
from implementations.wanda import Wanda
from implementations.wanda.wanda import scores


def mask(weight: Tensor, norms: Tensor, method: Wanda) -> Tensor:
    """Mark what the method removes of one matrix, given the norms of its inputs."""
    return method.choose(scores(weight, norms))


def random(rows: int = 24, width: int = 40, tokens: int = 300) -> tuple[Tensor, Tensor]:
    """Return weights [rows, width] and inputs [tokens, width] of very different size."""
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(tokens, width, generator=generator)
    return torch.randn(rows, width, generator=generator), X * torch.logspace(-2, 2, width)


def removed(weight: list[list[float]], norms: list[float], **settings) -> list[list[int]]:
    """Return the columns removed from each row."""
    gone = mask(torch.tensor(weight), torch.tensor(norms), Wanda(**settings))
    return [row.nonzero().flatten().tolist() for row in gone]


def test_scores_are_weights_times_norms_in_fp32():
    # In bf16 the norms would round to 256 and 258 and both scores to 258.
    weight = torch.tensor([[1.0078125, -1.0]], dtype=torch.bfloat16)
    assert scores(weight, torch.tensor([257.0, 258.5])).tolist() == [[1.0078125 * 257, 258.5]]


def test_small_weight_of_a_large_input_beats_large_weight_of_a_small_input():
    # Scores 8 6 4 2 and, the weights turned round, 2 4 6 8 of norms 8 3 4/3 1/2.
    norms = [8.0, 3.0, 4 / 3, 0.5]
    assert removed([[1.0, 2, 3, 4]], norms, sparsity=0.5) == [[2, 3]]
    assert removed([[0.25, -4 / 3, 4.5, -16]], norms, sparsity=0.5) == [[0, 1]]


def test_compares_weights_within_rows():
    # Scores of row 1 are a thousand times those of row 0; both lose two.
    rows = [[0.003, -0.001, 0.004, 0.002], [-2.0, 4, 1, -3]]
    assert removed(rows, [1.0, 1, 1, 1], sparsity=0.5) == [[1, 3], [0, 2]]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    # Scores 1 4 3 2 | 8 5 6 7
    [("1:4", [0, 2, 3, 5, 6, 7]), ("2:4", [0, 3, 5, 6]), ("3:4", [0, 5]), ("4:8", [0, 1, 2, 3])],
)
def test_patterns_keep_the_largest_of_each_group(pattern, expected):
    weight = [[1.0, 2, -1, 0.5, 2, -1, 2, 1]]
    assert removed(weight, [1.0, 2, 3, 4, 4, 5, 3, 7], pattern=pattern) == [expected]


@pytest.mark.parametrize(
    ("sparsity", "count"),  # of a row of 10, rounded down
    [(0.0, 0), (0.09, 0), (0.1, 1), (0.29, 2), (0.3, 3), (0.7, 7), (0.99, 9), (1.0, 10)],
)
@pytest.mark.parametrize("ties", [False, True])
def test_every_row_loses_the_same_number(sparsity, count, ties):
    W, X = random(width=10)
    if ties:
        W = torch.ones_like(W)
        X = torch.ones_like(X)
    gone = mask(W, X.norm(dim=0), Wanda(sparsity=sparsity))
    assert (gone.sum(dim=1) == count).all()
    if ties:  # the earlier input goes first
        assert gone[:, :count].all()


def test_equal_norms_give_magnitude_by_row():
    W, _ = random()
    lowest = W.abs().argsort(dim=1)[:, :20]
    expected = torch.zeros_like(W, dtype=torch.bool).scatter_(1, lowest, True)
    assert torch.equal(mask(W, torch.full((40,), 7.0), Wanda()), expected)


def test_scores_are_the_norms_of_all_tokens_times_the_weights():
    W, X = random()
    norms = ColumnNorm(40)
    for part in X.split([1, 100, 7, 192]):  # however the tokens were cut
        norms.update(part)
    scores = W.double().abs() * X.double().square().sum(dim=0).sqrt()
    gone = mask(W, norms.norms, Wanda(sparsity=0.3))
    for row, lost in zip(scores, gone, strict=True):
        assert int(lost.sum()) == 12
        assert row[lost].max() < row[~lost].min()


def test_silent_input_loses_all_weights_and_dominant_input_none():
    W, X = random()
    norms = X.norm(dim=0)
    norms[5], norms[6] = 0, 1e6
    W[:, 5] = 1000  # however large
    gone = mask(W, norms, Wanda())
    assert gone[:, 5].all()
    assert not gone[:, 6].any()


def test_moving_scale_from_weight_to_input_changes_nothing():
    # The layer computes the same, so the mask must be the same. Powers of two are exact.
    W, X = random()
    scale = 2.0 ** torch.randint(-8, 9, (40,), generator=torch.Generator().manual_seed(1))
    plain = mask(W, X.norm(dim=0), Wanda())
    moved = mask(W / scale, (X * scale).norm(dim=0), Wanda())
    assert torch.equal(plain, moved)
    assert not torch.equal(plain, mask(W / scale, X.norm(dim=0), Wanda()))


def test_scores_of_half_precision_weights_are_not_rounded():
    # In bf16 the norms would round to 256 and 258 and both scores to 258; they are 259.0 and 258.5.
    weight = torch.tensor([[1.0078125, 1.0]], dtype=torch.bfloat16)
    assert mask(weight, torch.tensor([257.0, 258.5]), Wanda()).tolist() == [[False, True]]


def inputs(model: LanguageModel, calibration: Tokens, index: int) -> dict[str, Tensor]:
    """Collect the inputs of each linear layer of a block, `[tokens, in]`, by hooks."""
    seen: dict[str, Tensor] = {}

    def watch(role):
        return lambda _, args: seen.__setitem__(role, args[0].flatten(end_dim=-2))

    linears = model.blocks[index].linears()
    hooks = [linear.register_forward_pre_hook(watch(role)) for role, linear in linears.items()]
    with torch.no_grad():
        model.hf(calibration.ids)
    for hook in hooks:
        hook.remove()
    return seen


@pytest.mark.parametrize("family", ["llama", "opt"])
def test_each_block_sees_the_pruned_ones_before_it_and_itself_dense(family):
    calibration, config = random_tokens(8, 24), Wanda(sparsity=0.5)
    dense = tiny_model(family, blocks=3)
    result = copy.deepcopy(dense)
    config.apply(result, calibration)
    half = copy.deepcopy(result)
    half.layers[2].load_state_dict(dense.layers[2].state_dict())  # blocks 0 and 1 pruned
    for model, agrees in ((half, True), (dense, False), (result, False)):
        seen = inputs(model, calibration, 2)
        same = [
            torch.equal(
                mask(linear.weight, seen[role].norm(dim=0), config),
                result.blocks[2].linears()[role].weight == 0,
            )
            for role, linear in dense.blocks[2].linears().items()
        ]
        assert all(same) == agrees


def test_survivors_keep_their_value():
    dense = tiny_model()
    model = copy.deepcopy(dense)
    outcome = Wanda(sparsity=0.25).apply(model, random_tokens())
    for (_, _, before), (_, _, after) in zip(dense.linears(), model.linears(), strict=True):
        kept = after.weight != 0
        assert (kept.sum(dim=1) == 0.75 * before.in_features).all()
        assert torch.equal(after.weight[kept], before.weight[kept])
    assert outcome.achieved == 0.25


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sparsity": 1.5}, "sparsity: .*less than or equal to 1"),
        ({"sparsity": float("nan")}, "sparsity: .*finite number"),
        ({"pattern": "x"}, "pattern 'x' is not KEEP:GROUP"),
        ({"sparsitty": 0.5}, "did you mean 'sparsity'?"),
    ],
)
def test_wrong_parameters_are_refused(settings, message):
    with pytest.raises(BadInput, match=message):
        Wanda.configure(**settings)


def test_a_pattern_that_does_not_divide_is_refused():
    with pytest.raises(BadInput, match="3:7 does not divide the 32 inputs of block 0, q"):
        Wanda(pattern="3:7").apply(tiny_model(), random_tokens())


def test_needs_a_calibration_set():
    with pytest.raises(BadInput, match="wanda needs a calibration set"):
        Wanda().apply(tiny_model())


def test_activations_that_are_not_finite_are_named():
    model = tiny_model()
    norm = model.blocks[1].norms["post_attention_layernorm"]
    norm.weight.data[3] = torch.finfo().max  # finite, but what it puts out is not
    with pytest.raises(NumericsError, match="block 1, gate: calibration activations contain NaN"):
        Wanda().apply(model, random_tokens())


@pytest.mark.model
def test_on_the_real_model_it_beats_magnitude(first_blocks):
    for setting in ({"sparsity": 0.5}, {"pattern": "2:4"}):
        wanda, magnitude = (first_blocks.error(s, **setting) for s in ("wanda", "magnitude"))
        assert wanda < magnitude
    for _, _, linear in first_blocks.pruned("wanda", pattern="4:8").linears():  # zeros of its own
        assert (linear.weight.unflatten(1, (-1, 8)).count_nonzero(dim=-1) <= 4).all()
    halves, groups, pairs = (
        first_blocks.error("wanda", **setting)
        for setting in ({"sparsity": 0.5}, {"pattern": "4:8"}, {"pattern": "2:4"})
    )
    assert halves < groups < pairs
