"""RIA: the formula by hand, what it protects, its permutation, and real blocks."""

from __future__ import annotations

import copy
from itertools import permutations

import pytest
import torch
from torch import Tensor

from implementations.harness import BadInput, keep_units, walk
from implementations.harness.contract.tiny import MODEL_TYPES, random_tokens, tiny_model
from implementations.harness.prune.weight_method import parse_pattern, smallest_per_group
from implementations.ria import RIA, ria
from implementations.ria.ria import (
    assignment,
    exchange_inputs,
    permutation,
    relative_importance,
    reorder,
    snake_order,
    stack_readers,
)
from tests.observation import FreedByBlock, check_walk

pytestmark = pytest.mark.usefixtures("without_gradients")

PATTERN = parse_pattern("2:4")


def random(rows: int = 24, width: int = 40) -> Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(0))


def test_scaling_a_row_changes_only_the_terms_of_inputs():
    W = random().abs()
    scaled = W.clone()
    scaled[3] *= 7
    of_outputs = relative_importance(scaled) - scaled / scaled.sum(dim=0)
    torch.testing.assert_close(of_outputs, W / W.sum(dim=1, keepdim=True))
    torch.testing.assert_close(relative_importance(5 * W), relative_importance(W))


def kept(scores: Tensor, order: Tensor, pattern=PATTERN) -> float:
    """Return the sum of scores that the pattern keeps for an order of inputs."""
    ordered = scores[:, order]
    return float(ordered[~smallest_per_group(ordered, pattern)].sum())


def test_score_is_relative_to_row_and_column():
    expected = [[1 / 3 + 1 / 4, 3 / 5 + 3 / 4], [2 / 3 + 2 / 4, 2 / 5 + 2 / 4]]
    result = relative_importance(torch.tensor([[1.0, -3], [-2, 2]]))
    torch.testing.assert_close(result, torch.tensor(expected))


def test_silent_rows_and_columns_score_zero():
    W = random()
    W[3], W[:, 5] = 0, 0
    result = relative_importance(W)
    assert not result.isnan().any()
    assert not result[3].any()
    assert not result[:, 5].any()


def test_small_rows_and_columns_are_not_removed_for_their_size():
    W, method = random(), RIA(exponent=0)
    W[:, -1] /= 100
    W[-1] /= 100
    small = W.abs() <= W.abs().median()  # what magnitude pruning would remove
    assert small[:, -1].all()
    assert small[-1].all()
    removed = method.mask(method.score(W, torch.ones(40)))
    assert not removed[:, -1].all()
    assert not removed[-1].all()


def test_score_uses_the_square_root_of_activations():
    W, norms = random(), torch.logspace(-2, 2, 40)
    torch.testing.assert_close(RIA().score(W, norms), relative_importance(W) * norms.sqrt())
    assert torch.equal(RIA(exponent=0).score(W, norms * 0), relative_importance(W))
    removed = RIA(exponent=20).mask(RIA(exponent=20).score(W, norms))
    assert removed[:, :18].all()  # the quietest inputs, whatever their weights
    assert not removed[:, 22:].any()


def test_compares_weights_in_the_matrix_or_the_row():
    scores = torch.arange(8.0).view(2, 4)
    assert RIA().mask(scores).tolist() == [[True] * 4, [False] * 4]
    assert RIA(compare="row").mask(scores).tolist() == [[True, True, False, False]] * 2


def test_scores_of_half_precision_weights_are_not_rounded():
    W = random().bfloat16()
    assert RIA().score(W, torch.ones(40)).dtype == torch.float32


def test_distributes_inputs_in_alternating_order():
    # Ascending 0 1 2 | 3 4 5 | 6 7 8 | 9 10 11; each segment one position, every other backwards.
    totals = torch.tensor([11.0, 4, 0, 8, 7, 3, 1, 9, 10, 2, 5, 6])
    groups = totals[snake_order(totals, 4)].view(3, 4).int().tolist()
    assert groups == [[0, 5, 6, 11], [1, 4, 7, 10], [2, 3, 8, 9]]


def test_inputs_are_ranked_by_the_sum_of_their_scores(monkeypatch):
    # Sums rise from 20 to 27 where maxima fall from 20 to 13.
    place = torch.arange(8.0)
    scores = torch.stack([20 - place, place, place])
    monkeypatch.setattr(ria, "exchange_inputs", lambda scores, order, pattern: order)
    assert permutation(scores, PATTERN).tolist() == [0, 3, 4, 7, 1, 2, 5, 6]


@pytest.mark.parametrize("text", ["2:4", "4:8"])
def test_permutation_is_valid_and_keeps_more(text):
    pattern = parse_pattern(text)
    scores = random().abs() * torch.logspace(-1, 1, 40)
    there, dealt_out = torch.arange(40), snake_order(scores.sum(dim=0), pattern.group)
    final = permutation(scores, pattern)
    assert sorted(final.tolist()) == list(range(40))
    heuristic, refined = (kept(scores, order, pattern) for order in (dealt_out, final))
    assert kept(scores, there, pattern) < heuristic < refined


def test_each_step_is_the_best_of_all_assignments():
    scores = random(6, 16).abs()
    order = torch.arange(16)
    for position in range(4):
        groups = order.view(4, 4)
        trials = []
        for swap in permutations(range(4)):
            trial = groups.clone()
            trial[:, position] = groups[list(swap), position]
            trials.append(trial.flatten())
        best = max(trials, key=lambda trial: kept(scores, trial))
        assert kept(scores, best) >= kept(scores, order)
        order = best
    assert kept(scores, exchange_inputs(scores, torch.arange(16), PATTERN)) == kept(scores, order)


def test_simulated_permutation_does_not_reorder_weights():
    scores = random().abs() * torch.logspace(-1, 1, 40)
    order = permutation(scores, PATTERN)
    removed = RIA(pattern="2:4", permutation="simulated").mask(scores, order)
    assert (removed.sum(dim=1) == 20).all()
    assert (removed[:, order].unflatten(1, (-1, 4)).sum(dim=-1) == 2).all()
    assert not (removed.unflatten(1, (-1, 4)).sum(dim=-1) == 2).all()
    assert float(scores[~removed].sum()) == pytest.approx(kept(scores, order))


def test_simulated_permutation_of_a_model_keeps_more_and_moves_no_weight():
    dense = tiny_model()
    model = copy.deepcopy(dense)
    details = RIA(pattern="2:4", permutation="simulated").apply(model, random_tokens()).details
    assert details["score_kept"] > details["score_kept_unpermuted"]
    for (_, _, now), (_, _, was) in zip(model.linears(), dense.linears(), strict=True):
        assert torch.equal(now.weight[now.weight != 0], was.weight[now.weight != 0])
        assert (now.weight == 0).sum() * 2 == now.weight.numel()
        assert not ((now.weight == 0).unflatten(1, (-1, 4)).sum(dim=-1) == 2).all()


def test_stacks_columns_of_query_heads_with_a_common_value_head():
    # Units 0 and 1, read by columns 0 and 1 of one head and 2 and 3 of another.
    columns = torch.tensor([[0, 2], [1, 3]])
    result = stack_readers(torch.arange(8.0).view(2, 4), columns)
    assert result.tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]


@pytest.mark.parametrize("family", MODEL_TYPES)
def test_reordering_does_not_change_the_output(family):
    dense, method = tiny_model(family), RIA(pattern="2:4", permutation="stored")
    model, tokens = copy.deepcopy(dense), random_tokens()
    moved = []
    for block in walk(model, tokens):
        linears = block.linears()
        generator = torch.Generator().manual_seed(block.index)
        scores = {r: torch.rand(x.weight.shape, generator=generator) for r, x in linears.items()}
        for role, dim, order in method.moves(block, scores):
            reorder(linears[role], dim, order)
            moved.append((role, dim))
    inner = [("gate", 0)] if "gate" in dense.blocks[0].linears() else []
    assert moved == [*inner, ("up", 0), ("down", 1), ("v", 0), ("o", 1)] * 2
    assert not torch.equal(model.blocks[1].attention.o.weight, dense.blocks[1].attention.o.weight)
    torch.testing.assert_close(model.hf(tokens.ids).logits, dense.hf(tokens.ids).logits)


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_stored_patterns_hold_in_the_order_of_the_weights(heads):
    model = tiny_model(num_key_value_heads=heads)
    dense = copy.deepcopy(model)
    outcome = RIA(pattern="2:4", permutation="stored").apply(model, random_tokens())
    for _, _, linear in model.linears():
        assert (linear.weight.unflatten(1, (-1, 4)).count_nonzero(dim=-1) == 2).all()
    assert outcome.details["score_kept"] > outcome.details["score_kept_unpermuted"] + 0.002
    after = model.blocks[0].feed_forward.down.weight
    before = dense.blocks[0].feed_forward.down.weight
    assert sorted(after[after != 0].tolist()) != sorted(before[:, :24].flatten().tolist())
    assert set(after[after != 0].tolist()) <= set(before.flatten().tolist())


def test_does_not_permute_heads_for_groups_wider_than_a_head():
    model = tiny_model(head_dim=4, num_attention_heads=8)
    dense = copy.deepcopy(model)
    RIA(pattern="4:8", permutation="stored").apply(model, random_tokens())
    before, after = (m.blocks[0].attention.v.weight for m in (dense, model))
    stays = after != 0
    assert torch.equal(after[stays], before[stays])  # no row moved


def test_a_permutation_without_a_pattern_is_refused():
    with pytest.raises(BadInput, match="pattern=2:4"):
        RIA(permutation="stored").apply(tiny_model(), random_tokens())


@pytest.mark.parametrize("permutation", ["stored", "simulated"])
def test_a_pattern_that_keeps_everything_moves_nothing(permutation):
    model = tiny_model()
    dense = copy.deepcopy(model)
    RIA(pattern="4:4", permutation=permutation).apply(model, random_tokens())
    for (_, _, now), (_, _, was) in zip(model.linears(), dense.linears(), strict=True):
        assert torch.equal(now.weight, was.weight)


def test_a_permutation_of_layers_with_missing_rows_is_refused():
    model = tiny_model()
    keep_units(model.blocks[1], "value-dims", range(4))
    RIA(pattern="2:4").check(model, random_tokens())
    with pytest.raises(BadInput, match="needs whole layers, but block 1, v holds only some"):
        RIA(pattern="2:4", permutation="stored").check(model, random_tokens())


def test_each_block_sees_the_pruned_ones_before_it_and_itself_dense():
    def pruned(weight: Tensor, gram: Tensor) -> Tensor:
        norms = gram.diagonal().sqrt().float()
        return weight.masked_fill(RIA().mask(RIA().score(weight, norms)), 0)

    check_walk(RIA(), pruned, "llama")


def test_scores_are_freed_before_the_next_block(monkeypatch):
    freed = FreedByBlock()
    monkeypatch.setattr(RIA, "score", freed.recorded(RIA.score))
    monkeypatch.setattr(ria, "walk", freed.checked(walk))
    RIA().apply(tiny_model(), random_tokens())
    assert len(freed.references) == 14


@pytest.mark.model
def test_on_real_blocks_it_beats_magnitude_and_a_permutation_helps(first_blocks):
    half = {"sparsity": 0.5}
    assert first_blocks.error("ria", **half) < first_blocks.error("magnitude", **half)
    pairs = {"pattern": "2:4"}
    permuted = first_blocks.error("ria", **pairs, permutation="stored")
    assert permuted < first_blocks.error("ria", **pairs)


@pytest.mark.parametrize("seed", range(2))
def test_no_other_assignment_has_a_greater_sum(seed: int):
    gains = torch.randn(6, 6, generator=torch.Generator().manual_seed(seed))
    rows = torch.arange(6)
    best = max(permutations(range(6)), key=lambda columns: float(gains[rows, columns].sum()))
    assert assignment(gains).tolist() == list(best)
