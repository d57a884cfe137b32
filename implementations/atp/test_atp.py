"""ATP: masks on frozen weights, regularised factors, and decisions."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from implementations.atp import ATP, atp
from implementations.atp.atp import Stage, split
from implementations.atp.decisions import (
    KINDS,
    DecisionNetwork,
    Patterns,
    decided,
    frozen_masked,
    soft_gates,
    straight_through,
)
from implementations.harness import (
    BadInput,
    Calibration,
    LanguageModel,
    Stream,
    adapter_parameters,
    gated,
    keep_units,
    low_rank,
    next_token_loss,
    perplexity,
)
from implementations.harness.contract.helpers import calibration_for, logits
from implementations.harness.contract.tiny import MODEL_TYPES, random_tokens, tiny_model

pytestmark = pytest.mark.usefixtures("without_gradients")

every_family = pytest.mark.parametrize("family", [name for name in MODEL_TYPES if name != "opt"])


def small(**settings) -> ATP:
    return ATP(**(ATP.tiny_settings | {"sparsity": 0.3} | settings))


def some(patterns: Patterns, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(len(patterns.costs), generator=generator) < 0.3


def stirred(model: LanguageModel, factors: list[torch.nn.Parameter]) -> None:
    """Change the initial values of all low-rank factors."""
    torch.manual_seed(0)
    for factor in factors:
        factor.copy_(0.2 * torch.randn(factor.shape))


# Patterns


@every_family
def test_removes_a_pattern_from_all_heads_of_a_block(family: str):
    model = tiny_model(family)
    patterns = Patterns(model)
    heads = model.blocks[0].attention.kv_heads
    size = model.blocks[0].attention.head_size
    assert patterns.sizes == [[size // 2, size, 48]] * 2
    assert int(patterns.costs.sum()) == sum(x.weight.numel() for _, _, x in model.linears())
    removed = torch.zeros(len(patterns.costs), dtype=torch.bool)
    removed[1] = removed[size // 2 + 3] = True
    pairs, values, channels = list(patterns.units(removed))[:3]
    assert pairs.view(heads, -1).nonzero()[:, 1].tolist() == [1] * heads
    assert values.view(heads, -1).nonzero()[:, 1].tolist() == [3] * heads
    assert not bool(channels.any())


@every_family
def test_masks_affect_frozen_weights_but_not_factors(family: str):
    model = tiny_model(family)
    patterns = Patterns(model)
    removed = some(patterns)
    block = model.blocks[1]
    rows = {"k": list(patterns.units(removed))[3], "up": list(patterns.units(removed))[5]}
    x = torch.randn(2, 5, 32)
    frozen = {role: block.linears()[role] for role in rows}
    half, size = block.attention.head_size // 2, block.attention.head_size
    pairs = rows["k"].view(-1, half)
    rows["k"] = torch.cat([pairs, pairs], dim=1).view(-1)  # dimension c and c + half
    assert len(rows["k"]) == block.attention.kv_heads * size
    plain = {role: linear(x) for role, linear in frozen.items()}
    with low_rank(model, 2, 1.0) as factors:
        stirred(model, factors)
        for role, off in rows.items():
            with_factors = block.linears()[role]
            one = adapter_parameters(with_factors)
            added = x @ one.A.T @ one.B.T
            with frozen_masked(patterns, removed):
                seen = with_factors(x)
            torch.testing.assert_close(seen[..., off], added[..., off], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(
                seen[..., ~off], (plain[role] + added)[..., ~off], rtol=1e-4, atol=1e-4
            )


@every_family
def test_tuning_deciding_and_slicing_agree_with_zero_factors(family: str):
    model = tiny_model(family)
    patterns = Patterns(model)
    removed = some(patterns)
    with low_rank(model, 2, 1.0) as factors, gated(model, *KINDS) as gates:
        stirred(model, factors)
        before = copy.deepcopy([factor.detach() for factor in factors])
        assert patterns.shrink(model, removed, float("inf")) > 0.1
        assert any(not torch.equal(a, b) for a, b in zip(before, factors, strict=True))
        with frozen_masked(patterns, removed):
            tuned = logits(model)
        gates.values = patterns.spread((~removed).float())
        judged = logits(model)
    parts = patterns.units(removed)
    for block in model.blocks:
        for kind in KINDS:
            keep_units(block, kind, ~next(parts))
    torch.testing.assert_close(tuned, judged, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(logits(model), judged, rtol=1e-4, atol=1e-4)


def test_a_channel_is_gated_on_both_branches():
    patterns = Patterns(tiny_model(blocks=1))
    spread = patterns.spread(torch.full((len(patterns.costs),), 0.5))
    assert spread[:-48].unique().tolist() == [0.5]
    assert spread[-48:].unique().tolist() == [0.25]


# Regularisation of factors


def test_group_lasso_by_hand():
    model = tiny_model(blocks=1)
    patterns = Patterns(model)
    removed = torch.zeros(len(patterns.costs), dtype=torch.bool)
    removed[-48:-44] = True  # four channels, and one dimension of the values
    removed[4] = True
    with low_rank(model, 2, 1.0) as factors:
        stirred(model, factors)
        roles = model.blocks[0].linears()
        gate, up, down = (adapter_parameters(roles[role]) for role in ("gate", "up", "down"))
        value, out = adapter_parameters(roles["v"]), adapter_parameters(roles["o"])
        before = copy.deepcopy((gate.B.data, up.B.data, down.A.data, value.B.data, out.A.data))
        norm = torch.cat([before[0][0], before[1][0], before[2][:, 0]]).norm()
        patterns.shrink(model, removed, 0.2)
        # Four of the five that go are channels.
        kept = float((norm - 0.2 * 4 / 5) / norm)
        torch.testing.assert_close(gate.B[0], kept * before[0][0])
        torch.testing.assert_close(down.A[:, 0], kept * before[2][:, 0])
        assert torch.equal(gate.B[4:], before[0][4:])
        assert torch.equal(down.A[:, 4:], before[2][:, 4:])
        # A dimension of the values goes from both KV heads, and from the queries that read them.
        rows, columns = [0, 8], [0, 8, 16, 24]
        norm = torch.cat([before[3][rows].flatten(), before[4][:, columns].flatten()]).norm()
        kept = float((norm - 0.2 / 5) / norm)
        torch.testing.assert_close(value.B[rows], kept * before[3][rows])
        torch.testing.assert_close(out.A[:, columns], kept * before[4][:, columns])
        assert torch.equal(value.B[1:8], before[3][1:8])
        largest = patterns.shrink(model, removed, 1e3)
        assert largest > 0.1
        assert not bool(gate.B[:4].any())
        assert patterns.shrink(model, removed, 0.0) == 0


# Decisions


def test_network_sees_all_blocks_with_fixed_positions():
    torch.manual_seed(0)
    network = DecisionNetwork([[4, 8, 6], [4, 8, 5]])
    assert "places" not in dict(network.named_parameters())
    torch.testing.assert_close(network.places @ network.places.T, torch.eye(2))
    network.eval()
    before = network()
    assert before.shape == (35,)
    network.places[1] += 1
    assert not torch.equal(network()[:18], before[:18])
    assert all(head.bias is None for head in network.heads)
    # What the encoder says of a block is for the heads of that block alone.
    network.encoder = torch.nn.Identity()
    before = network()
    network.places[1].neg_()
    assert torch.equal(network()[:18], before[:18])
    assert not bool((network()[18:] == before[18:]).any())


def test_most_gates_are_open_initially():
    torch.manual_seed(0)
    drawn = soft_gates(torch.zeros(20_000))
    # P(3 + Gumbel > 0), and steep enough that hardly any draw is in between.
    expected = 1 - torch.exp(-torch.exp(torch.tensor(3.0)))
    assert float((drawn >= 0.5).float().mean()) == pytest.approx(float(expected), abs=1e-3)
    closed = soft_gates(torch.full((20_000,), -3.0))
    assert float((closed >= 0.5).float().mean()) == pytest.approx(1 - 2.71828**-1, abs=0.01)
    # Of a temperature of 0.4: between a tenth and nine are those whose noise is below 0.879.
    between = math.exp(-math.exp(-0.879)) - math.exp(-math.exp(0.879))
    steep = ((closed > 0.1) & (closed < 0.9)).float().mean()
    assert float(steep) == pytest.approx(between, abs=0.01)


def staged(model: LanguageModel, **settings) -> Stage:
    given = calibration_for(ATP)
    assert isinstance(given, Calibration)
    return Stage(small(**settings), model, given)


def test_each_loss_trains_its_own_parameters():
    model = tiny_model()
    stage = staged(model)
    model.hf.requires_grad_(False)
    with (
        low_rank(model, 2, 1.0) as stage.factors,
        gated(model, *KINDS) as stage.gates,
        torch.enable_grad(),
    ):
        stage.decision_loss(0).backward()
        assert all(factor.grad is None for factor in stage.factors)
        assert all(p.grad is not None for p in stage.network.parameters())
        assert all(factor.requires_grad for factor in stage.factors)
        stage.network.zero_grad()
        stage.done = stage.deciding  # no decisions any more
        stage.loss(random_tokens().ids).backward()
        assert all(factor.grad is not None for factor in stage.factors)
        assert all(p.grad is None for p in stage.network.parameters())
    weights = {id(x.weight) for _, _, x in model.linears()}
    assert all(p.grad is None for p in model.hf.parameters() if id(p) in weights)


def test_the_loss_of_decisions_by_hand():
    """`L(m) + 5 |log(rho / target)|`: soft gates in the model, rounded ones in the budget."""
    model = tiny_model()
    stage = staged(model, sparsity=0.3)
    ids = next(stage.held_out.batches(1, start=2))
    costs = stage.patterns.costs
    with low_rank(model, 2, 1.0) as stage.factors, gated(model, *KINDS) as stage.gates:
        with torch.random.fork_rng(), torch.enable_grad():
            torch.manual_seed(0)
            found = stage.decision_loss(2)
            slopes = torch.autograd.grad(found, list(stage.network.heads.parameters()))
        with torch.random.fork_rng(), torch.enable_grad():
            torch.manual_seed(0)
            soft = soft_gates(stage.network())
            stage.gates.values = stage.patterns.spread(soft)
            share = ((soft >= 0.5) * costs).sum() / costs.sum()
            loss = next_token_loss(model, ids)
            assert float(found) == pytest.approx(
                float(loss) + 5 * abs(float((share / 0.7).log())), rel=1e-5
            )
            # The rounded share has the gradient of the soft one.
            over = 5 * (soft * costs).sum() / (share * costs.sum())
            expected = torch.autograd.grad(loss + over, list(stage.network.heads.parameters()))
    assert float(share) > 0.7
    for ours, theirs in zip(slopes, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-6)


def test_decisions_are_drawn_with_noise_and_without_dropout_and_mask_frozen_weights():
    model, ids = tiny_model(), random_tokens().ids
    stage = staged(model, steps=10)
    with low_rank(model, 2, 1.0) as stage.factors, gated(model, *KINDS) as stage.gates:
        stirred(model, stage.factors)
        for head in stage.network.heads:
            head.weight.mul_(10)  # so that some are closed
        decision = stage.decision_loss
        drawn = []

        def recording_loss(step: int) -> Tensor:
            value = decision(step)
            drawn.append(float(value))
            stage.network.eval()
            torch.manual_seed(1)
            drawn.append(soft_gates(stage.network()) < 0.5)
            stage.network.train()
            torch.manual_seed(1)
            return value

        stage.decision_loss = recording_loss  # type: ignore[method-assign]
        total = stage.loss(ids)
        assert torch.equal(stage.removed, drawn[1])
        assert int(stage.removed.sum()) > 0
        stage.gates.values = None
        with frozen_masked(stage.patterns, stage.removed):
            assert float(total) - drawn[0] == pytest.approx(
                float(next_token_loss(model, ids)), rel=1e-4
            )
        plain = float(next_token_loss(model, ids))
        assert float(total) - drawn[0] != pytest.approx(plain, rel=1e-4)


def test_regularisation_grows_and_uses_the_current_decisions(monkeypatch):
    stage = staged(tiny_model(), steps=4, learning_rate=0.01, shrinkage=3.0)
    pulls: list[tuple[Tensor, float]] = []
    monkeypatch.setattr(
        Patterns,
        "shrink",
        lambda self, model, removed, amount: pulls.append((removed.clone(), amount)),
    )
    with low_rank(stage.model, 2, 1.0) as stage.factors, gated(stage.model, *KINDS) as stage.gates:
        for step in range(4):
            stage.loss(random_tokens().ids)
            drawn = stage.removed.clone()
            stage.after(step)
            if step != stage.deciding - 1:
                assert torch.equal(pulls[-1][0], drawn)
    growth = [(math.exp(t / 4) - 1) / (math.e - 1) for t in (1, 2, 3, 4)]
    assert [amount for _, amount in pulls] == pytest.approx([0.03 * g for g in growth])


def test_both_losses_of_a_step_use_one_decision():
    model = tiny_model()
    stage = staged(model, steps=10)
    with low_rank(model, 2, 1.0) as stage.factors, gated(model, *KINDS) as stage.gates:
        masks = []
        for step in range(10):
            stage.loss(random_tokens().ids)
            drawn = stage.removed.clone()
            if step != stage.deciding - 1:
                stage.after(step)
                assert torch.equal(stage.removed, drawn)
            else:
                with atp.rest(stage.network):
                    final = decided(stage.patterns, stage.network(), 0.3)
                stage.after(step)  # what comes now is final
                assert torch.equal(stage.removed, final)
                costs = stage.patterns.costs
                share = (stage.removed * costs).sum() / costs.sum()
                assert float(share) == pytest.approx(0.3, abs=0.02)
                assert float(stage.open) == pytest.approx(
                    float((~drawn * costs).sum() / costs.sum())
                )
            masks.append(stage.removed.clone())
    changing = [not torch.equal(a, b) for a, b in itertools.pairwise(masks)]
    assert any(changing[: stage.deciding - 1])
    assert not any(changing[stage.deciding - 1 :])


def test_factors_and_network_have_separate_rates_and_clipping(monkeypatch):
    groups: list[tuple[float, float]] = []
    training = atp.optimise

    def watched(given, loss, stream, plan, **hooks):
        for group in given:
            for parameter in group["params"]:
                parameter.grad = torch.ones_like(parameter)
        hooks["before"](0)
        for group in given:
            norm = torch.stack([p.grad.norm() for p in group["params"]]).norm()
            groups.append((group.get("lr", plan.rate), float(norm)))
        return training(given, loss, stream, plan, **hooks)

    monkeypatch.setattr(atp, "optimise", watched)
    method = small(learning_rate=3e-4, decision_rate=7e-4)
    method.apply(tiny_model(), calibration_for(ATP))
    assert groups == [(3e-4, pytest.approx(1, rel=1e-3)), (7e-4, pytest.approx(3, rel=1e-3))]


def test_general_text_is_the_training_text():
    given = calibration_for(ATP)
    assert isinstance(given, Calibration)
    assert given.training is not given.domain
    assert Stage(small(), tiny_model(), given).general is given.training


def test_decisions_use_a_share_of_general_text():
    stage = staged(tiny_model(), general=0.25, steps=8)
    asked: list[str] = []

    class RecordingStream(Stream):
        def batches(self, size: int, start: int = 0) -> Iterator[Tensor]:
            assert start == len(asked)  # text goes on from step to step
            asked.append(self.name)  # type: ignore[attr-defined]
            return super().batches(size, start)

    for name in ("general", "held_out"):
        stream = RecordingStream(random_tokens(4))
        object.__setattr__(stream, "name", name)
        setattr(stage, name, stream)
    model = stage.model
    with low_rank(model, 2, 1.0) as stage.factors, gated(model, *KINDS) as stage.gates:
        for step in range(8):
            stage.decision_loss(step)
    assert asked == ["held_out"] * 3 + ["general"] + ["held_out"] * 3 + ["general"]


def test_keeps_the_highest_unit_of_each_kind():
    patterns = Patterns(tiny_model())
    scores = torch.arange(float(len(patterns.costs)))
    removed = decided(patterns, scores, ATP().max_sparsity(tiny_model()))
    assert [int((~part).sum()) for part in patterns.parts(removed)] == [1] * 6
    assert float((decided(patterns, scores, 0.5) * patterns.costs).sum()) == pytest.approx(
        0.5 * float(patterns.costs.sum()), rel=0.03
    )


def test_decisions_and_tuning_use_different_text():
    tuned, held = split(Stream(random_tokens(20)))
    assert len(held.windows.ids) == 2
    assert len(tuned.windows.ids) == 18
    assert not {*tuned.windows.spans} & {*held.windows.spans}
    with pytest.raises(BadInput, match="one window"):
        split(Stream(random_tokens(1)))


# Whole runs


def test_two_stages_do_not_train_factors_during_decisions():
    stage = staged(tiny_model(), two_stage=True, steps=5)
    assert [stage.tunes(step) for step in range(5)] == [False] * 4 + [True]


def test_removed_units_were_already_masked():
    given = calibration_for(ATP)
    details = small(steps=12, learning_rate=0.01).apply(tiny_model(), given).details
    assert details["factors_left_over"] == 0
    loose = small(steps=12, learning_rate=0.01, shrinkage=0.0).apply(tiny_model(), given).details
    assert loose["factors_left_over"] > 1e-3


@pytest.mark.model
def test_on_real_blocks_decisions_beat_random_ones(first_blocks, monkeypatch):
    method = ATP(sparsity=0.2, steps=6, batch=1, learning_rate=1e-3, decision_rate=0.03)

    def left() -> float:
        model = copy.deepcopy(first_blocks.dense)
        details = method.apply(model, first_blocks.short).details
        assert details["factors_left_over"] == 0  # the removed factors were no longer in use
        return perplexity(model, first_blocks.ahead).value

    learned = left()
    monkeypatch.setattr(
        atp, "decided", lambda *given: decided(given[0], torch.rand_like(given[1]), given[2])
    )
    assert learned < 0.5 * left()


@torch.enable_grad()
def test_rounding_passes_gradients_through():
    shares = torch.tensor([0.2, 0.5, 0.9], requires_grad=True)
    rounded = straight_through(shares)
    assert rounded.tolist() == [0.0, 1.0, 1.0]
    (gradient,) = torch.autograd.grad((rounded * torch.tensor([1.0, 2.0, 3.0])).sum(), shares)
    assert gradient.tolist() == [1.0, 2.0, 3.0]
