"""FastForward: the projector, the policy on toy problems, schedules, the fit, real blocks."""

from __future__ import annotations

import copy
import math
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from implementations.fastforward import FastForward, fastforward
from implementations.fastforward.fastforward import fewest, importance, project
from implementations.fastforward.policy import Policy
from implementations.harness import (
    BadInput,
    Candidates,
    LanguageModel,
    NumericsError,
    Tokens,
    perplexity,
)
from implementations.harness.contract.tiny import MODEL_TYPES, random_tokens, tiny_model
from implementations.harness.model.units import count_weights, unit_costs
from tests.observation import inputs

pytestmark = pytest.mark.usefixtures("without_gradients")

every_family = pytest.mark.parametrize("family", list(MODEL_TYPES))

KINDS = FastForward().kinds
# LLaMA-7B: 32 heads of 128 in q, k, v and o, 11,008 channels in gate, up and down.
COUNTS = torch.tensor([32, 11008] * 32)
COSTS = torch.tensor([4 * 128 * 4096, 3 * 4096] * 32)


# The projector


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("sparsity", [0, 0.1, 0.3, 0.6])
def test_any_scores_meet_the_budget_within_half_a_channel(sparsity: float, symmetric: bool):
    torch.manual_seed(0)
    for mean, scale in ((0, 1), (0, 0.1), (0.5, 0.3), (1, 1), (0.9, 0.02), (0, 30), (5, 0)):
        scores = mean + scale * torch.randn(64)
        units = project(scores, COUNTS, COSTS, sparsity, symmetric=symmetric)
        missed = int((units * COSTS).sum()) - (1 - sparsity) * int((COUNTS * COSTS).sum())
        assert abs(missed) <= 3 * 4096 / 2 + 1e-3
        assert bool((units >= fewest(COUNTS, 0.1)).all())
        assert bool((units <= COUNTS).all())
        assert torch.equal(units, project(scores, COUNTS, COSTS, sparsity, symmetric=symmetric))
        assert torch.equal(units, project(-scores, COUNTS, COSTS, sparsity, symmetric=symmetric))


def test_missing_sparsity_is_distributed_by_capacity():
    # By hand: r = .2, .6, .4 (a sign counts for nothing), 100 units each, of 1, 2 and 1 weights.
    # C = 20 + 120 + 40 = 180 of T = 240, the room is 80 + 80 + 60 = 220: each gets 60/220 of it.
    counts, costs = torch.tensor([100, 100, 100]), torch.tensor([1, 2, 1])
    units = project(torch.tensor([0.2, -0.6, 0.4]), counts, costs, 0.4, 0.1)
    assert units.tolist() == [42, 71, 56]  # 41.8, 70.9, 56.4, and nothing is left to make good
    equal = project(torch.full((64,), 0.3), COUNTS, COSTS, 0.2)
    assert (equal / COUNTS)[::2].tolist() == pytest.approx([26 / 32] * 32)
    assert (equal / COUNTS)[1:-1:2].tolist() == pytest.approx([0.8] * 31, abs=1e-4)


def test_excess_sparsity_is_returned_in_order():
    # T = 160, floors take 40: of the 120 left the first wants 80 (r = .9), the second 2 * 70.
    counts, costs = torch.tensor([100, 100, 100]), torch.tensor([1, 2, 1])
    units = project(torch.tensor([0.9, 0.8, 0.5]), counts, costs, 0.6, 0.1)
    assert units.tolist() == [90, 30, 10]
    ones = project(torch.full((64,), 3.0), COUNTS, COSTS, 0.2) / COUNTS  # clipped to 1
    assert ones[:48].tolist() == [1] * 48
    assert (ones[-14:] <= 1 / 8).all()


def test_symmetric_variant_returns_excess_proportionally():
    # C = 90 + 160 + 50 = 300 of T = 160: of the room over the floor, 80 + 140 + 40, 140/260 go.
    counts, costs = torch.tensor([100, 100, 100]), torch.tensor([1, 2, 1])
    units = project(torch.tensor([0.9, 0.8, 0.5]), counts, costs, 0.6, 0.1, symmetric=True)
    assert units.tolist() == [47, 42, 29]  # 46.9, 42.3, 28.5 rounded, and the last one more
    reversed_ = project(torch.tensor([0.5, 0.8, 0.9]), counts, costs, 0.6, 0.1, symmetric=True)
    assert reversed_.tolist()[1] == 42
    grown = (torch.tensor([0.2, 0.6, 0.4]), counts, costs, 0.4, 0.1)
    assert torch.equal(project(*grown), project(*grown, symmetric=True))


@pytest.mark.parametrize("part", [0, 1, 6, 7])
def test_higher_score_never_lowers_the_share_of_its_part(part: int):
    counts, costs = COUNTS[:8], COSTS[:8]
    scores = 0.6 * torch.rand(8, generator=torch.Generator().manual_seed(0))
    kept = []
    for score in torch.linspace(0.1, 1, 13):
        scores[part] = score
        proposed = (scores.clamp(min=0.1) * counts * costs).sum()
        assert proposed < 0.8 * (counts * costs).sum()  # the projector only adds
        kept.append(int(project(scores, counts, costs, 0.2)[part]))
    assert kept == sorted(kept)
    assert kept[0] < kept[-1]


def test_parts_without_units_or_at_their_minimum():
    counts, costs = torch.tensor([0, 20, 4, 20]), torch.tensor([0, 5, 50, 5])
    units = project(torch.ones(4), counts, costs, 0.3)
    assert units[0] == 0
    assert abs(int((units * costs).sum()) - 0.7 * 400) <= 2.5
    everything = 1 - int((fewest(counts, 0.1) * costs).sum()) / 400
    assert torch.equal(project(torch.ones(4), counts, costs, everything), fewest(counts, 0.1))
    assert fewest(counts, 0.1).tolist() == [0, 2, 1, 2]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_scores_that_are_not_finite_are_refused(bad: float):
    with pytest.raises(NumericsError, match="NaN or infinity; lower its learning rate"):
        project(torch.tensor([0.5, bad]), torch.tensor([4, 4]), torch.tensor([1, 1]), 0.2)


# The policy


def learner(
    actions: int = 8, epochs: int = 10, rate: float = 5e-4, entropy: float = 0.01
) -> Policy:
    return Policy(actions, epochs, rate, 0.2, entropy)


def test_proposals_are_drawn_around_a_mean_with_deviation_one_at_first():
    torch.manual_seed(0)
    policy = learner(3)
    drawn = policy(torch.full((20000,), 0.2)).sample()
    assert drawn.shape == (20000, 3)
    assert drawn.std(dim=0).tolist() == pytest.approx([1] * 3, abs=0.02)
    mean = policy.mean(torch.tensor([[0.2]]))[0]
    assert drawn.mean(dim=0).tolist() == pytest.approx(mean.tolist(), abs=0.03)
    assert bool((drawn < 0).any())
    shapes = [tuple(p.shape) for p in policy.mean.parameters() if p.ndim == 2]
    assert shapes == [(256, 1), (256, 256), (128, 256), (3, 128)]
    layers = [type(layer) for layer in policy.mean]
    assert layers == [torch.nn.Linear, torch.nn.ReLU] * 3 + [torch.nn.Linear]


def test_equal_rewards_teach_the_actor_nothing():
    torch.manual_seed(0)
    policy, states = learner(entropy=0), torch.full((15,), 0.2)
    before = [p.clone() for p in (*policy.mean.parameters(), policy.log_std)]
    policy.learn(states, policy(states).sample(), torch.full((15,), 0.7))
    after = (*policy.mean.parameters(), policy.log_std)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(bool(p.isfinite().all()) for p in policy.parameters())


def test_one_step_equals_the_explicit_loss():
    # In the first epoch ratios are 1 and nothing is clipped: the gradient is the plain one.
    torch.manual_seed(0)
    policy, states = learner(4, epochs=1), torch.linspace(0.05, 0.2, 15)
    twin = copy.deepcopy(policy)
    actions, rewards = policy(states).sample(), torch.rand(15)
    values = twin.value(states[:, None])[:, 0]
    gap = rewards - values
    advantages = (gap - gap.mean()) / gap.std()
    with torch.enable_grad():
        z = (actions - twin.mean(states[:, None])) / twin.log_std.exp()
        log_p = (-(z**2) / 2 - twin.log_std - math.log(2 * math.pi) / 2).sum(dim=1)
        entropy = (twin.log_std + math.log(2 * math.pi * math.e) / 2).sum()
        critic = (twin.value(states[:, None])[:, 0] - rewards).square().mean()
        (0.5 * critic - (advantages * log_p).mean() - 0.01 * entropy).backward()
    policy.learn(states, actions, rewards)
    norm = torch.stack([p.grad.norm() for p in twin.parameters()]).norm()
    for was, now in zip(twin.parameters(), policy.parameters(), strict=True):
        expected = was.grad * min(1, 0.5 / float(norm))
        torch.testing.assert_close(now.grad, expected, rtol=1e-3, atol=1e-6)
        sure = expected.abs() > 1e-5  # Adam's first step does not depend on the size
        step = (now - was)[sure]
        torch.testing.assert_close(step, -5e-4 * expected[sure].sign(), rtol=0, atol=2e-5)


def test_updates_of_probabilities_are_clipped():
    found = []
    for clip in (0.2, 1e9):
        torch.manual_seed(0)
        policy, states = Policy(2, 60, 1e-3, clip, 0), torch.full((15,), 0.2)
        actions = policy(states).sample()
        before = policy(states).log_prob(actions).sum(dim=1)
        rewards = (actions[:, 0] > 0).float()
        policy.learn(states, actions, rewards)
        ratio = (policy(states).log_prob(actions).sum(dim=1) - before).exp()
        found.append((float(ratio[rewards == 1].mean()), float(ratio.max())))
    (some, most), (more, far) = found
    assert 1.1 < some < 1.5 < more
    assert most < 2 < far


def test_updates_of_values_are_clipped():
    found = []
    for clip in (0.2, 1e9):
        torch.manual_seed(0)
        policy, states = Policy(2, 60, 5e-4, clip, 0), torch.full((15,), 0.2)
        policy.learn(states, policy(states).sample(), torch.full((15,), 5.0))
        found.append(float(policy.expected(states[:1])))
    assert found[0] < 1 < 3 < found[1]  # Adam goes on for a while where the gradient is 0


def test_policy_moves_towards_the_best_shares():
    torch.manual_seed(0)
    counts, costs, states = torch.full((8,), 100), torch.tensor([1, 2] * 4), torch.full((40,), 0.3)
    best = project(torch.linspace(0.1, 1, 8), counts, costs, 0.3) / 100
    policy, distances = learner(epochs=4, rate=1e-2), []
    for _ in range(36):
        actions = policy(states).sample()
        shares = torch.stack([project(action, counts, costs, 0.3) / 100 for action in actions])
        distance = (shares - best).norm(dim=1)  # [episodes]
        distances.append(float(distance.mean()))
        policy.learn(states, actions, (-distance.square()).exp())
    assert distances[-1] < distances[0] / 2


# The score of the units


@every_family
def test_scores_units_of_the_dense_model_by_their_columns(family: str):
    model, tokens = tiny_model(family), random_tokens()
    scores = importance(model, tokens)
    assert len(scores) == 2 * len(model.blocks)
    for index, block in enumerate(model.blocks):
        attention = block.attention
        for linear, found, width in (
            (attention.o, scores[2 * index], attention.group * attention.head_size),
            (block.feed_forward.down, scores[2 * index + 1], 1),
        ):
            norms = inputs(model, linear, tokens).square().sum(dim=0).sqrt()
            columns = (linear.weight.double().abs() * norms).mean(dim=0).tolist()
            sums = [sum(columns[i : i + width]) for i in range(0, len(columns), width)]
            assert found.tolist() == pytest.approx(sums, rel=1e-5)


def test_keeps_the_highest_scores_of_every_part():
    model, tokens = tiny_model(blocks=2), random_tokens()
    dense, scores = copy.deepcopy(model), importance(model, tokens)
    FastForward(sparsity=0.4, random=1, restore=False).apply(model, tokens)
    for index, (was, now) in enumerate(zip(dense.blocks, model.blocks, strict=True)):
        size = was.attention.head_size
        for a, b, width, part in (
            (was.attention.v.weight, now.attention.v.weight, size, scores[2 * index]),
            (was.feed_forward.up.weight, now.feed_forward.up.weight, 1, scores[2 * index + 1]),
        ):
            stay = part.argsort(descending=True)[: len(b) // width].sort().values
            assert torch.equal(b, a.view(len(part), width, -1)[stay].flatten(end_dim=1))
    assert now.feed_forward.channels < 48


# The search


def watched(monkeypatch, **settings) -> tuple[list[dict], dict, LanguageModel]:
    """Prune a tiny model; return each update, the details and the model."""
    seen: list[dict] = []
    texts: list[Tensor] = []
    candidates: list[Candidates] = []
    real_losses, real_learn = fastforward.losses, Policy.learn

    def losses(model: LanguageModel, text: Tokens) -> Candidates:
        texts.append(text.ids)
        candidates.append(real_losses(model, text))
        return candidates[-1]

    def learn(policy: Policy, states: Tensor, actions: Tensor, rewards: Tensor) -> None:
        update = {"states": states, "rewards": rewards, "text": texts[-1], "policy": policy}
        seen.append(update | {"loss": candidates[-1], "texts": len(texts)})
        real_learn(policy, states, actions, rewards)

    monkeypatch.setattr(fastforward, "losses", losses)
    monkeypatch.setattr(Policy, "learn", learn)
    model = tiny_model(blocks=3)
    outcome = FastForward(**({"epochs": 1} | settings)).apply(model, random_tokens(20))
    return seen, outcome.details, model


def test_curriculum_raises_sparsity_and_text(monkeypatch):
    seen, details, _ = watched(monkeypatch, sparsity=0.3, episodes=80, collect=8, samples=20)
    sparsities = torch.cat([update["states"] for update in seen]).tolist()
    q = [min(t / 40, 1) for t in range(80)]
    assert sparsities == pytest.approx([0.3 - 0.25 * (1 - each) ** 3 for each in q])
    assert (sparsities[0], sparsities[-1]) == pytest.approx((0.05, 0.3))
    windows = [len(update["text"]) for update in seen]
    expected = [round(20 * (0.05 + 0.95 * min(t / 40, 1) ** 3)) for t in range(0, 80, 8)]
    assert windows == expected
    assert (windows[0], windows[-1]) == (1, 20)
    # One draw for each update, in the end one for all of them.
    assert [update["texts"] for update in seen] == [1, 2, 3, 4, 5] + [6] * 5
    assert not torch.equal(seen[0]["text"], seen[1]["text"])
    assert len(details["rewards"]) == 10


def test_number_of_episodes_without_curriculum(monkeypatch):
    policy = {"epochs": 2, "learning_rate": 3e-3, "clip": 0.3, "entropy": 0.02}
    seen, _, _ = watched(monkeypatch, episodes=10, collect=4, curriculum=0, samples=3, **policy)
    used = seen[0]["policy"]
    assert (used.epochs, used.clip, used.entropy) == (2, 0.3, 0.02)
    assert used.optimiser.param_groups[0]["lr"] == 3e-3
    assert [len(update["states"]) for update in seen] == [4, 4, 2]
    assert {round(float(s), 6) for update in seen for s in update["states"]} == {0.2}
    assert {len(update["text"]) for update in seen} == {3}
    assert len({id(update["loss"]) for update in seen}) == 1


def test_even_a_curriculum_of_all_episodes_ends(monkeypatch):
    seen, _, _ = watched(monkeypatch, episodes=12, collect=4, curriculum=1, samples=3)
    assert seen[-1]["states"].tolist() == pytest.approx([0.2] * 4)
    assert [len(update["text"]) for update in seen] == [1, 1, 3]


def test_selects_from_the_end_of_the_search_only(monkeypatch):
    seen, details, model = watched(monkeypatch, sparsity=0.4, episodes=40, collect=5, samples=4)
    ended = seen[-1]["loss"]
    assert details["perplexity"] == ended.least == min(ended.seen.values())
    before = [loss for update in seen[:4] for loss in update["loss"].seen.values()]
    assert min(before) < ended.least  # few units are removed there, and the text is short
    total = count_weights(tiny_model(blocks=3)).all
    assert count_weights(model).all == pytest.approx(0.6 * total, abs=96 / 2 + 1)
    searches = {id(update["loss"]): update["loss"] for update in seen}
    assert details["evaluations"] == sum(loss.evaluations for loss in searches.values())


def test_the_reward_is_the_ratio_of_perplexities_on_the_same_text(monkeypatch):
    seen, _, _ = watched(monkeypatch, sparsity=0.3, episodes=8, collect=4, samples=4)
    dense = tiny_model(blocks=3)
    for update in seen:
        at_best = perplexity(dense, Tokens.from_ids(update["text"])).value
        found = {at_best / loss for loss in update["loss"].seen.values()}
        for reward in update["rewards"].tolist():
            assert min(abs(reward - each) for each in found) < 1e-6


def test_reward_is_one_for_the_dense_model_and_zero_for_a_broken_one(monkeypatch):
    seen, _, _ = watched(monkeypatch, sparsity=0, episodes=8, collect=4, samples=4)
    assert all(update["rewards"].tolist() == pytest.approx([1] * 4) for update in seen)
    real, calls = fastforward.perplexity, []

    def broken(model: LanguageModel, text: Tokens) -> object:
        if any(linear._forward_pre_hooks for _, _, linear in model.linears()):
            calls.append(1)  # something is masked
        if len(calls) % 2 == 1:
            raise NumericsError("not finite")
        return real(model, text)

    monkeypatch.setattr(fastforward, "perplexity", broken)
    seen, _, _ = watched(monkeypatch, sparsity=0.3, episodes=8, collect=4, samples=2)
    rewards = torch.cat([update["rewards"] for update in seen])
    assert bool((rewards == 0).any())
    assert bool(rewards.isfinite().all())
    assert bool((rewards > 0).any())


def test_refuses_a_search_without_a_finite_model(monkeypatch):
    monkeypatch.setattr(
        fastforward, "losses", lambda model, text: Candidates(model, lambda: math.inf, *KINDS)
    )
    model, tokens = tiny_model(), random_tokens()
    before = count_weights(model)
    with pytest.raises(NumericsError, match="no proposed model has finite logits"):
        FastForward(random=2).apply(model, tokens)
    assert count_weights(model) == before


def test_a_policy_is_warmed_up_at_lower_sparsities(monkeypatch):
    settings = {"sparsity": 0.4, "warm": (0.2, 0.3), "episodes": 12, "collect": 4, "samples": 3}
    seen, details, _ = watched(monkeypatch, **settings)
    assert len({id(update["policy"]) for update in seen}) == 1
    states = [update["states"].tolist() for update in seen]
    assert [row[0] for row in states] == pytest.approx(
        [0.05, 0.2 - 0.15 / 27, 0.2, 0.2, 0.3 - 0.1 / 27, 0.3, 0.3, 0.4 - 0.1 / 27, 0.4]
    )
    assert details["perplexity"] == min(seen[-1]["loss"].seen.values())


def test_random_search_uses_its_evaluations_without_learning(monkeypatch):
    drawn: list[Tensor] = []
    given: list[tuple] = []
    monkeypatch.setattr(
        fastforward, "project", lambda *a: (drawn.append(a[0]), given.append(a[3:]), project(*a))[2]
    )
    settings = {"sparsity": 0.3, "random": 9, "samples": 2, "floor": 0.2, "symmetric": True}
    seen, details, model = watched(monkeypatch, **settings)
    assert seen == []
    assert set(given) == {(0.3, 0.2, True)}
    assert details["evaluations"] == 9
    assert float(torch.cat(drawn).mean()) == pytest.approx(0, abs=0.4)
    assert float(torch.cat(drawn).std()) == pytest.approx(1, abs=0.3)
    assert "rewards" not in details
    total = count_weights(tiny_model(blocks=3)).all
    assert abs(count_weights(model).all - 0.7 * total) <= 96 / 2


class Known(Candidates):
    """Candidates with a known loss, to which only the channels of block 1 do not contribute."""

    def __call__(self, removed: Tensor) -> float:
        parts = removed.double().split([2, 48] * 3)
        harm = sum(float(part.mean()) for index, part in enumerate(parts) if index != 3)
        self.measure = lambda: 10 * math.exp(harm)
        return super().__call__(removed)


def test_learns_which_part_does_not_matter(monkeypatch):
    model, tokens = tiny_model(blocks=3), random_tokens()
    monkeypatch.setattr(fastforward, "losses", lambda model, text: Known(model, float, *KINDS))
    monkeypatch.setattr(fastforward, "perplexity", lambda model, text: SimpleNamespace(value=10))
    settings = {"episodes": 450, "learning_rate": 1e-2, "curriculum": 0.1, "restore": False}
    details = FastForward(sparsity=0.3, **settings).apply(model, tokens, seed=1).details
    assert details["channels"][1] < 12
    assert min(details["channels"][0], details["channels"][2]) > 30
    assert sum(details["rewards"][-3:]) > 1.3 * sum(details["rewards"][3:6])


def test_refuses_invalid_input_before_any_work():
    model, tokens = tiny_model(blocks=2), random_tokens()
    for warm in ((0.3, 0.2), (0.2, 0.5), (0.1, 0.1)):
        with pytest.raises(BadInput, match="`warm` must be increasing"):
            FastForward(sparsity=0.4, warm=warm).check(model, tokens)
    with pytest.raises(BadInput, match="too high"):  # 1 - sigma is less than the floors
        FastForward(sparsity=0.85, floor=0.3).check(model, tokens)


def test_minimum_of_every_part_limits_the_sparsity():
    model = tiny_model(blocks=2)
    total = count_weights(model).all
    group, channel = (int(unit_costs(model.blocks[0], kind)[0]) for kind in FastForward().kinds)
    assert FastForward().max_sparsity(model) == pytest.approx(1 - 2 * (group + 5 * channel) / total)
    assert FastForward(floor=1).max_sparsity(model) == 0


# Removal and fit


@every_family
def test_removes_what_was_evaluated(family: str):
    model, tokens = tiny_model(family, blocks=3), random_tokens()
    settings = {"sparsity": 0.3, "samples": 3, "restore": False, "random": 5}
    details = FastForward(**settings).apply(model, tokens).details
    now = perplexity(model, tokens.pick(range(3))).value
    assert now == pytest.approx(details["perplexity"], rel=1e-5)


def ridge(W: Tensor, Z: Tensor, keep: Tensor, alpha: float) -> Tensor:
    """Compute step 7 as the official code does: fold removed columns into the kept ones."""
    kept, removed = Z[:, keep], Z[:, ~keep]
    gram = kept.T @ kept + alpha * torch.eye(kept.shape[1], dtype=Z.dtype)
    C = torch.linalg.solve(gram, kept.T @ removed)  # [kept, removed]
    return W[:, keep] + W[:, ~keep] @ C.T


@pytest.mark.parametrize("family", ["llama", "qwen2", "opt"])
def test_fit_is_ridge_regression_on_inputs_of_the_pruned_model(family: str):
    model, tokens = tiny_model(family, blocks=2), random_tokens(12)
    dense = copy.deepcopy(model)
    method, removed = FastForward(ridge=0.9), []
    for block in model.blocks:
        groups = torch.arange(block.attention.kv_heads) == block.index
        removed += [groups, torch.arange(48) % 3 == block.index]
    method.cut(model, tokens, torch.cat(removed))
    for index, block in enumerate(model.blocks):
        twin = copy.deepcopy(model)  # the pruned blocks before it, the block itself dense
        for i in range(index, len(model.blocks)):
            twin.layers[i] = copy.deepcopy(dense.layers[i])
        attention, was = twin.blocks[index].attention, twin.blocks[index].feed_forward
        Z = inputs(twin, attention.o, tokens)
        keep = (~removed[2 * index]).repeat_interleave(attention.group * attention.head_size)
        expected = ridge(attention.o.weight.double(), Z, keep, 0.9)
        torch.testing.assert_close(
            block.attention.o.weight.double(), expected, rtol=1e-3, atol=1e-4
        )
        # `down` behind the pruned and fitted attention.
        twin.layers[index].self_attn = copy.deepcopy(block.module.self_attn)
        Z = inputs(twin, was.down, tokens)
        expected = ridge(was.down.weight.double(), Z, ~removed[2 * index + 1], 0.9)
        torch.testing.assert_close(
            block.feed_forward.down.weight.double(), expected, rtol=1e-3, atol=1e-4
        )
        torch.testing.assert_close(
            block.feed_forward.up.weight, was.up.weight[~removed[2 * index + 1]]
        )


@pytest.mark.model
def test_on_real_blocks_the_fit_helps_on_unseen_text(four_blocks):
    settings = {"sparsity": 0.2, "random": 1, "samples": 1}
    plain = four_blocks.error("fastforward", **settings, restore=False)
    assert 0 < four_blocks.error("fastforward", **settings) < 0.9 * plain
