"""Sheared LLaMA: gates, the Lagrangian, rounding, folding, the mix of texts, a real model."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from implementations.harness import (
    BadInput,
    Calibration,
    LanguageModel,
    ShapeChoices,
    Stream,
    Tokens,
    UniformShape,
    next_token_loss,
    remove_blocks,
    shape_of,
)
from implementations.harness.contract.helpers import calibration_for, fingerprint, logits
from implementations.harness.contract.tiny import random_tokens, tiny_model
from implementations.harness.model.saving import save_model
from implementations.harness.model.units import total_weights
from implementations.shearedllama import ShearedLlama, shearedllama
from implementations.shearedllama.gates_and_texts import (
    HELD_OUT,
    Mixture,
    all_gates,
    cut,
    fold,
    new_proportions,
    shares_to_close,
    spread,
)
from implementations.shearedllama.shearedllama import (
    EPSILON,
    LIMIT,
    Training,
    expected_open,
    fixed_gates,
    openness,
    penalty,
    sample_gates,
)

SUPPORTED = ("llama", "mistral", "qwen2", "qwen3")
every_family = pytest.mark.parametrize("family", SUPPORTED)


def texts() -> Calibration:
    calibration = calibration_for(ShearedLlama)
    assert isinstance(calibration, Calibration)
    return calibration


def begun(model: LanguageModel, shape: UniformShape | None = None, **settings) -> Training:
    """Return a training that has not begun."""
    method = ShearedLlama(**(ShearedLlama.tiny_settings | settings))
    mixture = Mixture(texts(), method.general)
    return Training(method, model, shape or method.target_shape(model), mixture)


# Gates


@pytest.mark.parametrize("logit", [-LIMIT, 0.0, 2.0])
def test_openness_is_the_share_of_draws_above_zero(logit: float):
    torch.manual_seed(0)
    z = sample_gates(torch.full((100_000,), logit))
    assert float((z > 0).float().mean()) == pytest.approx(
        float(openness(torch.tensor(logit))), abs=5e-3
    )
    assert float(z.min()) == 0
    assert float(z.max()) == 1


def test_openness_by_hand():
    found = openness(torch.tensor([LIMIT, 0.0, -LIMIT, 100.0]))
    torch.testing.assert_close(
        found, torch.tensor([0.99798, 0.83182, 0.04713, 1 - EPSILON]), rtol=1e-4, atol=1e-5
    )


def test_gradients_reach_gates_between_zero_and_one():
    logit = nn.Parameter(torch.zeros(1000))
    torch.manual_seed(0)
    z = sample_gates(logit)
    z.sum().backward()
    inside = (z > 0) & (z < 1)
    assert bool((logit.grad[inside] > 0).all())
    assert not logit.grad[~inside].any()


def test_fixed_gates_by_hand():
    logits = torch.tensor([[3.0, -1.0, 2.0], [0.0, 0.0, -4.0]])
    soft = torch.sigmoid(1.2 * logits)  # 0.8 / (2 / 3)
    found = fixed_gates(logits, 2)
    assert (found > 0).tolist() == [[True, False, True], [True, True, False]]
    torch.testing.assert_close(found, soft * (found > 0))
    assert (fixed_gates(logits, torch.tensor([1, 3])) > 0).sum(dim=-1).tolist() == [1, 3]
    # 0.998 + 0.047 + 0.047 are 1.09 expected open gates.
    assert float(expected_open(torch.tensor([LIMIT, -LIMIT, -LIMIT]))) == 1


def test_the_text_reaches_every_kind_of_gate():
    training = begun(tiny_model())  # all multipliers are 0, so the penalty has no gradient
    with torch.no_grad():
        for one in training.logits.values():
            one.zero_()
    with all_gates(training.model) as training.gates:
        training.loss(next(training.mixture.streams[0].batches(1))).backward()
    for kind, one in training.logits.items():
        assert float((one.grad != 0).float().mean()) > 0.2, kind


# The Lagrangian


def test_penalty_by_hand():
    level = math.log(0.8 / 0.2) + 2 / 3 * math.log(0.1 / 1.1)  # P(z > 0) = 0.8
    logits = torch.full((3, 5), level)
    found = penalty(logits, 0.5, torch.tensor([2.0, 3.0]))
    assert float(found) == pytest.approx(2 * -0.3 + 3 * 0.09, abs=1e-5)


def test_penalty_is_the_mean_over_rows_of_squares():
    # One row closed and one open are not as good as two half closed.
    uneven = torch.tensor([[100.0] * 4, [-100.0] * 4])
    assert float(penalty(uneven, 0.5, torch.tensor([0.0, 1.0]))) == pytest.approx(0.25, abs=1e-4)


def test_multipliers_ascend_and_gates_descend():
    training = begun(tiny_model(), steps=10)
    training.done = 5
    too_open = sum(
        penalty(training.logits[kind], training.targets[kind], multipliers)
        for kind, multipliers in zip(training.logits, training.multipliers, strict=True)
    )
    too_open.backward()
    assert training.targets["hidden"] > 0.2
    slope = training.multipliers.grad[
        list(training.logits).index("hidden")
    ]  # what the optimiser subtracts
    assert float(slope[0]) > 0  # fewer are closed than in the target, so lambda_1 falls
    assert float(slope[1]) < 0  # and lambda_2 rises
    logit = nn.Parameter(torch.zeros(4))
    penalty(logit, 0.9, torch.tensor([-1.0, 0.0])).backward()
    assert bool((logit.grad > 0).all())  # a negative lambda_1 pushes the logits down


def test_demanded_sparsity_rises(monkeypatch: pytest.MonkeyPatch):
    asked = []

    def recorded(logits: Tensor, target: float, multipliers: Tensor) -> Tensor:
        asked.append(target)
        return penalty(logits, target, multipliers)

    monkeypatch.setattr(shearedllama, "penalty", recorded)
    model = tiny_model()
    ShearedLlama(steps=10, batch=1, warmup=0.4, sparsity=0.3).apply(model, texts())
    shape = ShearedLlama(sparsity=0.3).target_shape(tiny_model())
    target = shares_to_close(shape_of(tiny_model()), shape)["channels"]
    rises = [round(value / target, 6) for value in asked[3::4]]  # the channels come last
    assert rises == [0, 0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1]


def test_logits_start_at_the_limit_and_never_leave_it():
    training = begun(tiny_model(), steps=12, gate_rate=3.0)
    for one in training.logits.values():
        assert bool((one == math.log(100)).all())
    with torch.no_grad():
        training.run()
    for one in training.logits.values():
        assert float(one.detach().abs().max()) <= LIMIT + 1e-6
    assert float(training.logits["hidden"].detach().min()) < 4


def test_gates_reach_the_target():
    method = ShearedLlama(sparsity=0.4, steps=150, batch=1, interval=0, channel_multiple=1)
    outcome = method.apply(tiny_model(), texts())
    before, target = (
        outcome.details[name]["channels"]
        for name in ("closed_before_rounding", "closed_in_the_target")
    )
    assert target > 0.2
    assert before == pytest.approx(target, abs=0.1)


# Shapes and rounding


def test_target_shape_cuts_evenly():
    # 576 hidden dimensions, 9 heads in 3 groups, 1,536 channels, 30 blocks.
    dense = UniformShape(576, 3, 1536, 30, 3, 64, 2)
    choices = ShapeChoices(dense, 0.5, 8, 8)
    shape = min(choices.near(0.8 * dense.weights), key=lambda one: spread(one, dense))
    assert (shape.hidden, shape.heads, shape.channels) == (504, 9, 1360)


@every_family
def test_every_block_has_exactly_the_target_shape(family: str):
    model = tiny_model(family, blocks=4)
    method = ShearedLlama(**ShearedLlama.tiny_settings, sparsity=0.4, depth=0.75)
    shape = method.target_shape(model)
    assert shape.blocks == 3
    outcome = method.apply(model, texts())
    assert shape_of(model) == shape
    assert total_weights(model) == shape.weights
    assert outcome.details["shape"]["channels"] == shape.channels


def test_heads_are_rounded_inside_each_group():
    training = begun(tiny_model())
    with torch.no_grad():
        training.logits["query-heads"].copy_(torch.tensor([[4.0, 3, 1, 2], [-1, -2, 3, 4]]))
    shape = replace(shape_of(tiny_model()), group=1)
    heads = training.rounded(shape)["query-heads"] > 0
    assert heads.tolist() == [[True, False, False, True], [True, False, False, True]]


def test_no_target_removes_nothing():
    training = begun(tiny_model(), shape=shape_of(tiny_model()))
    with torch.no_grad():
        for one in training.logits.values():
            one.uniform_(-LIMIT, LIMIT)
    assert all(bool((gate > 0).all()) for gate in training.rounded(shape_of(tiny_model())).values())


# Folding


def random_gates(model: LanguageModel, shape: UniformShape) -> dict[str, Tensor]:
    """Return soft gates of a shape."""
    training = begun(model, shape)
    torch.manual_seed(3)
    with torch.no_grad():
        for one in training.logits.values():
            one.uniform_(-1.5, 1.5)  # gates of 0.14 to 0.86
    return training.rounded(shape)


@pytest.mark.parametrize(
    ("family", "shape"),
    [
        *((family, {}) for family in SUPPORTED),
        ("llama", {"attention_bias": True, "mlp_bias": True}),
    ],
)
def test_cut_model_equals_the_gated_one(family: str, shape: dict[str, Any]):
    model = tiny_model(family, blocks=3, rms_norm_eps=0.1, **shape)
    group = 1 if shape_of(model).kv_heads == 2 else shape_of(model).group
    target = replace(shape_of(model), hidden=24, group=group, channels=40, blocks=2)
    values = random_gates(model, target)
    with torch.no_grad(), all_gates(model) as gates:
        gates.set(values)
        gated = logits(model)
        cut(model, values)
    assert shape_of(model) == target
    torch.testing.assert_close(logits(model), gated, rtol=1e-4, atol=1e-5)


def test_open_gates_change_nothing_and_a_closed_layer_is_the_identity():
    model = tiny_model(blocks=3)
    dense = logits(model)
    values = {
        "blocks": torch.ones(3),
        "hidden": torch.ones(32),
        "query-heads": torch.ones(3, 4),
        "channels": torch.ones(3, 48),
    }
    with torch.no_grad(), all_gates(model) as gates:
        gates.set(values)
        assert torch.equal(logits(model), dense)
        gates.set(values | {"blocks": torch.tensor([1.0, 0.0, 1.0])})
        without = logits(model)
    remove_blocks(model, [1])
    torch.testing.assert_close(logits(model), without, rtol=1e-5, atol=1e-5)


def test_every_factor_is_folded_once():
    model = tiny_model(tie_word_embeddings=False)
    values = random_gates(model, shape_of(model))
    embedding, head = model.embedding.clone(), model.hf.lm_head.weight.clone()
    gain = model.final_norm.weight.clone()
    with torch.no_grad():
        fold(model, values)
    assert torch.equal(model.embedding, embedding)
    assert torch.equal(model.hf.lm_head.weight, head)
    torch.testing.assert_close(model.final_norm.weight, gain * values["hidden"])


# Training


def test_weights_change_and_gates_do_not_reach_the_model(tmp_path):
    model = tiny_model()
    before = fingerprint(model)
    ShearedLlama(**ShearedLlama.tiny_settings, sparsity=0.0, learning_rate=1e-2).apply(
        model, texts()
    )
    after = fingerprint(model)
    assert before.keys() == after.keys()
    q = "0.self_attn.q_proj.weight"  # no gate is folded into it
    assert float((after[q] - before[q]).abs().mean()) > 1e-3
    save_model(model, tmp_path / "sheared")
    stock = AutoModelForCausalLM.from_pretrained(tmp_path / "sheared", trust_remote_code=False)
    assert {name for name, _ in stock.named_parameters()} == {
        name for name, _ in model.hf.named_parameters()
    }


def test_a_useless_channel_closes():
    torch.manual_seed(0)
    logits = nn.Parameter(torch.full((2,), LIMIT))
    multipliers = nn.Parameter(torch.zeros(2))
    multipliers.register_hook(torch.neg)
    optimiser = torch.optim.AdamW([logits, multipliers], lr=0.3, weight_decay=0)
    for _ in range(200):
        optimiser.zero_grad()
        useful = (1 - sample_gates(logits)[0]) ** 2  # only the first channel lowers the loss
        (useful + penalty(logits, 0.5, multipliers)).backward()
        optimiser.step()
        with torch.no_grad():
            logits.clamp_(-LIMIT, LIMIT)
    assert (fixed_gates(logits.detach(), 1) > 0).tolist() == [True, False]
    assert float(openness(logits.detach()[0])) > 0.9
    assert float(openness(logits.detach()[1])) < 0.3


# The mix of texts


def test_a_larger_gap_raises_the_share_of_its_text():
    found = new_proportions(torch.tensor([0.7, 0.3]), torch.tensor([0.1, 0.6]))
    raised = torch.tensor([0.7 * math.exp(0.1), 0.3 * math.exp(0.6)], dtype=torch.float64)
    torch.testing.assert_close(
        found, (1 - 1e-4) * raised / raised.sum() + 1e-4 / 2, rtol=1e-6, atol=0
    )
    assert float(found.sum()) == pytest.approx(1, abs=1e-12)


def test_a_loss_below_its_reference_counts_as_equal():
    one, other = (
        new_proportions(torch.tensor([0.7, 0.3]), torch.tensor([0.0, gap])) for gap in (0.0, -3.0)
    )
    assert torch.equal(one, other)


def test_windows_are_mixed_in_proportion():
    calibration = replace_domain(texts())
    torch.manual_seed(0)
    mixture = Mixture(calibration, general=0.25)
    ids = next(mixture.streams[0].batches(200))
    mixed = mixture.mixed(ids)
    foreign = (mixed == 7).all(dim=1)
    assert float(foreign.float().mean()) == pytest.approx(0.75, abs=0.1)
    assert torch.equal(mixed[~foreign], ids[~foreign])
    assert mixture.taken == int(foreign.sum())


def replace_domain(calibration: Calibration) -> Calibration:
    """Return the texts with a domain in which every token is 7."""
    sevens = Stream(Tokens.from_ids(torch.full((8, 24), 7)))
    return Calibration(**(vars(calibration) | {"domain": sevens}))


def test_held_out_windows_are_not_trained_on():
    calibration = texts()
    mixture = Mixture(calibration, 0.5)
    whole = calibration.training.windows.ids
    assert torch.equal(mixture.held_out[0], whole[-HELD_OUT:])
    assert torch.equal(mixture.streams[0].windows.ids, whole[:-HELD_OUT])
    short = Stream(random_tokens(HELD_OUT))
    with pytest.raises(BadInput, match="`domain` has 2 windows"):
        Mixture(Calibration(**(vars(calibration) | {"domain": short})), 0.5)


def test_windows_of_different_lengths_are_refused():
    domain = Stream(Tokens.from_ids(torch.zeros(8, 12, dtype=torch.long)))
    calibration = Calibration(**(vars(texts()) | {"domain": domain}))
    with pytest.raises(BadInput, match="`training` have 24 tokens and those of `domain` 12"):
        ShearedLlama(**ShearedLlama.tiny_settings).apply(tiny_model(), calibration)


def test_the_mix_follows_the_losses(monkeypatch: pytest.MonkeyPatch):
    measured = iter([[2.0, 1.0], [2.0, 1.5], [2.0, 1.0]])  # of the dense model, then while training
    monkeypatch.setattr(Mixture, "losses", lambda *_: torch.tensor(next(measured)))
    settings = ShearedLlama.tiny_settings | {"general": 0.5}
    found = ShearedLlama(**settings).apply(tiny_model(), texts()).details["general_text"]
    assert found == pytest.approx(1 / (1 + math.exp(0.5)), abs=1e-3)
    measured = iter([[2.0, 1.0]])
    still = ShearedLlama(**(settings | {"interval": 0}))
    assert still.apply(tiny_model(), texts()).details["general_text"] == 0.5


def test_the_mix_is_measured_at_intervals_with_the_expected_gates(monkeypatch: pytest.MonkeyPatch):
    model, method = tiny_model(), ShearedLlama(**ShearedLlama.tiny_settings)
    calibration = texts()
    training = Training(method, model, method.target_shape(model), Mixture(calibration, 0.5))
    measured: list[tuple[int, bool]] = []

    def losses(*_: Any) -> Tensor:
        if hasattr(training, "gates"):  # not yet for the dense model
            logits = training.logits["hidden"]
            expected = fixed_gates(logits, expected_open(logits))
            same = torch.equal(training.gates.hidden.values, expected)
            measured.append((training.done, same))
        return torch.tensor([2.0, 1.0])

    monkeypatch.setattr(Mixture, "losses", losses)
    training.run()
    assert measured == [(3, True), (6, True)]  # after every third of the six steps


def test_plan_is_that_of_the_official_code():
    plan = ShearedLlama().plan()
    assert (plan.warmup, plan.end, plan.betas) == (0.1, 0.1, (0.9, 0.95))


def test_refuses_a_depth_that_removes_more_than_the_sparsity():
    with pytest.raises(BadInput, match=r"`depth` 0\.75 alone exceeds `sparsity`"):
        ShearedLlama(depth=0.75).check(tiny_model(blocks=4), texts())


def test_training_reads_the_mix():
    calibration, model = replace_domain(texts()), tiny_model()
    with torch.no_grad():
        expected = float(next_token_loss(model, torch.full((1, 24), 7)))
    settings = ShearedLlama.tiny_settings | {"general": 0.0, "learning_rate": 1e-9}
    losses = ShearedLlama(**settings).apply(model, calibration).course.losses
    assert losses[0] == pytest.approx(expected, rel=0.05)


def test_losses_are_those_of_the_held_out_windows():
    model, mixture = tiny_model(), Mixture(texts(), 0.5)
    expected = [next_token_loss(model, ids) for ids in mixture.held_out]
    torch.testing.assert_close(mixture.losses(model), torch.stack(expected))


# The real model


@pytest.mark.model
def test_on_real_blocks_learned_gates_beat_fixed_ones(first_blocks):
    # Without a learning rate, no gate moves, and rounding closes the last of each kind.
    losses = []
    for gate_rate in (1.0, 1e-9):
        model = copy.deepcopy(first_blocks.dense)
        ShearedLlama(steps=10, batch=1, interval=0, general=1.0, gate_rate=gate_rate).apply(
            model, first_blocks.short
        )
        with torch.no_grad():
            losses.append(float(next_token_loss(model, first_blocks.ahead.ids)))
    assert losses[0] < losses[1]
