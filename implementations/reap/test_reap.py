"""REAP: hand cases, planted experts, recounts on every mixture, and a model split into experts."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch

from implementations.harness import (
    BadInput,
    keep_experts,
    load_model,
)
from implementations.harness.contract.helpers import logits
from implementations.harness.contract.split_mixture import split
from implementations.harness.contract.tiny import MIXTURE_TYPES, random_tokens, tiny_model
from implementations.harness.model.saving import save_model
from implementations.harness.prune.expert_method import Routed
from implementations.reap import REAP
from implementations.reap.benchmark_split import remove_at_random
from implementations.reap.reap import SCORES, Tally, super_experts

pytestmark = pytest.mark.usefixtures("without_gradients")
every_mixture = pytest.mark.parametrize("family", list(MIXTURE_TYPES))


def losing(model, count, **settings):
    """Return the method that removes `count` experts from every block."""
    return REAP(sparsity=REAP().share(model, count), **settings)


def tally(**sums: list[float]) -> Tally:
    """Return a tally with the given sums, and zeros for the others."""
    result = Tally.of(len(next(iter(sums.values()))), torch.device("cpu"))
    for name, values in sums.items():
        setattr(result, name, torch.tensor(values, dtype=torch.float64))
    return result


def order(score: str, sums: Tally) -> list[int]:
    return SCORES[score](sums).argsort(stable=True).tolist()


def test_hand_case_of_two_tokens_and_two_experts():
    # Expert 0 returns (3, 4) and (5, 12), of norms 5 and 13, with the gates 0.9 and 0.5.
    outputs = [torch.tensor([[3.0, 4.0], [5.0, 12.0]]), torch.tensor([[0.0, -2.0]])]
    experts = SimpleNamespace(count=3, output=lambda j, x: outputs[j])
    chosen, gates = torch.tensor([[0, 1], [2, 0]]), torch.tensor([[0.9, 0.1], [0.5, 0.5]])
    outputs.append(torch.zeros(1, 2))
    sums = Tally.of(3, torch.device("cpu"))
    sums.update(experts, Routed(torch.zeros(2, 2), torch.zeros(2, 3), gates, chosen, None))
    assert sums.tokens.tolist() == [2, 1, 1]
    assert sums.peaks.tolist() == [12, 2, 0]
    expected = {
        "reap": [5.5, 0.2, 0],  # (0.9 * 5 + 0.5 * 13) / 2
        "ean_mean": [9, 2, 0],
        "ean_sum": [18, 2, 0],
        "weighted_ean_sum": [11, 0.2, 0],
        "weighted_frequency": [1.4, 0.1, 0.5],
        "frequency": [2, 1, 1],
    }
    for score, values in expected.items():
        assert SCORES[score](sums).tolist() == pytest.approx(values), score


def test_rare_and_strong_expert_is_kept():
    # Expert 0 is chosen once with g ||f|| = 10, expert 1 a hundred times with 1.
    sums = tally(tokens=[1, 100], gates=[0.5, 50], norms=[20, 200], products=[10, 100])
    assert order("reap", sums) == [1, 0]
    assert order("ean_mean", sums) == [1, 0]
    for other in ("frequency", "weighted_frequency", "ean_sum", "weighted_ean_sum"):
        assert order(other, sums) == [0, 1]


def test_expert_without_tokens_scores_zero():
    sums = tally(tokens=[4, 0, 1], gates=[1, 0, 1], norms=[1, 0, 1], products=[1, 0, 1])
    for score in SCORES:
        assert SCORES[score](sums)[1] == 0


def recount(model, tokens):
    """Return the mean of gate times norm per block and expert, by the model's own modules."""
    scores = []
    inputs = {}
    hooks = [
        block.experts.module.register_forward_pre_hook(
            lambda _, args, i=block.index: inputs.update({i: args})
        )
        for block in model.blocks
        if block.experts
    ]
    model.hf(input_ids=tokens.ids, use_cache=False)
    for hook in hooks:
        hook.remove()
    for block in model.blocks:
        if block.experts:
            x, chosen, gates = inputs[block.index]
            raw = block.experts.router(x)[0]
            probabilities = raw.softmax(dim=1)
            own = probabilities.gather(1, chosen)
            if model.family.name == "mixtral" or model.config.norm_topk_prob:
                own = own / own.sum(dim=1, keepdim=True)
            torch.testing.assert_close(own, gates)
            row = []
            for j in range(8):
                one = block.experts.module(x, torch.full((len(x), 1), j), torch.ones(len(x), 1))
                routed_here = (chosen == j).any(dim=1)
                gate = (own * (chosen == j)).sum(dim=1)
                row.append((gate * one.norm(dim=1))[routed_here].mean().item())
            scores.append(row)
    return scores


@every_mixture
def test_scores_equal_a_recount_by_the_modules_of_the_model(family):
    model, tokens = tiny_model(family, blocks=3), random_tokens()
    expected = recount(model, tokens)
    details = losing(model, 2).apply(model, tokens).details
    for row, own, removed in zip(details["scores"], expected, details["removed"], strict=True):
        assert row == pytest.approx(own, rel=1e-4)
        assert removed == sorted(torch.tensor(own).argsort()[:2].tolist())
    dense = [0] if family == "qwen3moe" else []  # its first block has no experts
    assert details["experts"] == [0] * len(dense) + [6] * (3 - len(dense))


def test_gates_that_sum_to_one_give_other_scores():
    """Mixtral has no setting for it and always divides by the sum."""
    found = {}
    for normed in (False, True):
        model = tiny_model("olmoe", norm_topk_prob=normed)
        found[normed] = losing(model, 2).apply(model, random_tokens()).details["scores"]
    assert all(high > low for high, low in zip(found[True][0], found[False][0], strict=True))


def test_scores_are_those_of_the_dense_model():
    """Block 2 does not see what was removed from block 1."""
    few, many = (
        losing(model, count).apply(model, random_tokens()).details
        for model, count in ((tiny_model("mixtral"), 1), (tiny_model("mixtral"), 5))
    )
    assert few["scores"] == many["scores"]
    for one, five in zip(few["removed"], many["removed"], strict=True):
        assert set(one) < set(five)
        assert len(five) == 5


def test_experts_and_rows_of_the_router_are_removed_together():
    """Permuting both alike permutes the choice and leaves the pruned model the same."""
    model, order = tiny_model("mixtral"), torch.tensor([3, 1, 7, 0, 2, 6, 5, 4])
    other = copy.deepcopy(model)
    for block in other.blocks:
        for weight in block.experts.weights().values():
            weight.copy_(weight[order])
    one, two = (losing(m, 2).apply(m, random_tokens()).details for m in (model, other))
    for removed, permuted in zip(one["removed"], two["removed"], strict=True):
        assert sorted(order[permuted].tolist()) == removed
    torch.testing.assert_close(logits(model), logits(other), rtol=1e-4, atol=1e-4)


@every_mixture
def test_weak_expert_is_removed_first(family):
    model = tiny_model(family, blocks=3)
    for block in model.blocks:
        if block.experts:
            block.experts.weights()["down_proj"][(3 + block.index) % 8] *= 1e-3
    outcome = losing(model, 1).apply(model, random_tokens())
    first = 1 if family == "qwen3moe" else 0
    assert outcome.details["removed"] == [[3 + index] for index in range(first, 3)]


def test_removing_copies_changes_nothing():
    model = tiny_model("mixtral")
    for block in model.blocks:
        for name in ("gate_up_proj", "down_proj"):
            block.experts.weights()[name][:] = block.experts.weights()[name][:1]
    before = logits(model)
    losing(model, 6).apply(model, random_tokens())
    torch.testing.assert_close(logits(model), before, rtol=1e-4, atol=1e-4)


def test_super_experts_exceed_both_limits_in_the_first_blocks():
    peaks = torch.rand(8, 100, generator=torch.Generator().manual_seed(0)).double()
    peaks[1, 7] = peaks[5, 3] = peaks[6, 2] = 50.0  # block 6 is in the last quarter
    peaks[0, 0] = 4.9  # above the quantile, but below a tenth of the largest
    assert super_experts(peaks).nonzero().tolist() == [[1, 7], [5, 3]]
    peaks[:] = 1.0
    assert not super_experts(peaks).any()


def test_protected_expert_is_kept():
    """A super expert is kept although it is chosen rarely."""
    dense = tiny_model("mixtral", blocks=4)
    by_count = losing(dense, 2, score="frequency")
    weakest = by_count.apply(copy.deepcopy(dense), random_tokens()).details["removed"][0][0]
    dense.blocks[0].experts.weights()["down_proj"][weakest] *= 1e4
    plain = by_count.apply(copy.deepcopy(dense), random_tokens()).details
    protect = losing(dense, 2, score="frequency", protect=True)
    protected = protect.apply(dense, random_tokens()).details
    assert weakest in plain["removed"][0]
    assert weakest not in protected["removed"][0]
    assert [len(removed) for removed in protected["removed"]] == [2] * 4


def test_refuses_to_leave_fewer_experts_than_a_token_uses():
    model = tiny_model("mixtral", num_experts_per_tok=7)
    assert REAP().removable(model) == 1
    with pytest.raises(BadInput, match=r"reap can remove at most 0\.1\d* of its weights"):
        losing(model, 2).check(model, random_tokens())


def test_refuses_blocks_with_different_numbers_of_experts():
    model = tiny_model("mixtral")
    keep_experts(model.blocks[0], range(5))
    with pytest.raises(BadInput, match=r"the blocks of this model have \[5, 8\]"):
        REAP().check(model, random_tokens())


def test_saved_model_is_a_stock_checkpoint_with_fewer_experts(tmp_path):
    model = tiny_model("olmoe")
    losing(model, 2).apply(model, random_tokens())
    save_model(model, tmp_path / "pruned")
    again = load_model(tmp_path / "pruned", tokenizer=False)
    assert again.config.num_experts == 6
    assert not (tmp_path / "pruned" / "modeling_pruned.py").exists()
    assert torch.equal(logits(model), logits(again))


@pytest.mark.model
def test_on_a_real_model_split_into_experts_it_beats_random_removal(first_blocks):
    mixture = split(first_blocks.dense, first_blocks.calibration.pick(range(4)))
    ids = first_blocks.held_out[:2, :128]
    expected = mixture.hf(input_ids=ids).logits.log_softmax(dim=-1)

    def divergence(prune):
        model = copy.deepcopy(mixture)
        prune(model)
        found = model.hf(input_ids=ids).logits.log_softmax(dim=-1)
        return float((expected.exp() * (expected - found)).sum(dim=-1).mean())

    best = divergence(lambda model: losing(model, 2).apply(model, first_blocks.short))
    chance = [divergence(lambda m, seed=seed: remove_at_random(m, 2, seed)) for seed in range(3)]
    assert 0 < best < min(chance)


def test_a_mixture_without_experts_is_refused():
    model = tiny_model("qwen3moe", mlp_only_layers=[0, 1])
    with pytest.raises(BadInput, match="reap removes experts, but tiny-qwen3moe has none"):
        REAP().apply(model, random_tokens())
