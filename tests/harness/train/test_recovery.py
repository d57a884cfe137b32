"""Recovery: losses fall, zeros and shapes stay, and equal seeds give equal results."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError

from implementations.harness import BadInput, LanguageModel, get_method, perplexity
from implementations.harness.contract.helpers import calibration_for, fingerprint, same
from implementations.harness.contract.side_effects import state
from implementations.harness.contract.tiny import MODEL_TYPES, tiny_model
from implementations.harness.data.tokens import Stream, Tokens
from implementations.harness.model.execution import seeded
from implementations.harness.model.units import count_weights
from implementations.harness.results.protocol import Recovery
from implementations.harness.train.recovery import check, recover

every_family = pytest.mark.parametrize("family", list(MODEL_TYPES))
every_way = pytest.mark.parametrize("how", ["lora", "full"])

# Learnable text: a few windows in which each token determines the next.
ROWS = (torch.arange(16) * torch.tensor([[3], [5], [7], [11]]) + 5) % 96
STREAM = Stream(Tokens.from_ids(ROWS), seed=1)


def asked(how: str, steps: int = 30) -> Recovery:
    rate = {"lora": 3e-2, "full": 3e-3, "distill": 3e-3}[how]
    return Recovery.by(how, steps * 64).model_copy(update={"rate": rate, "step": 64})


def pruned(slug: str, family: str = "llama", **settings) -> LanguageModel:
    model = tiny_model(family)
    get_method(slug).configure(**settings).apply(model, calibration_for(get_method(slug)))
    return model


@every_family
@every_way
def test_structured_model_learns_and_keeps_its_shape(family: str, how: str):
    model = pruned("flap", family, sparsity=0.3)
    before, shapes = perplexity(model, STREAM.windows).value, count_weights(model).all
    left = {name: value for name, value in state(model).items() if name != "generators"}
    with seeded(0):  # OPT uses dropout
        losses = recover(model, asked(how), STREAM)
    after = perplexity(model, STREAM.windows).value
    assert len(losses) == 30
    assert math.exp(losses[0]) == pytest.approx(before, rel=0.1)
    assert after < 0.5 * before
    assert count_weights(model).all == shapes
    assert {n: value for n, value in state(model).items() if n != "generators"} == left


@every_family
@every_way
@pytest.mark.parametrize("settings", [{"pattern": "2:4"}, {"sparsity": 0.5}])
def test_pruned_weights_stay_zero(family: str, how: str, settings):
    model = pruned("wanda", family, **settings)
    zeros = [linear.weight == 0 for _, _, linear in model.linears()]
    before = perplexity(model, STREAM.windows).value
    recover(model, asked(how, 10), STREAM, masked=True)
    assert perplexity(model, STREAM.windows).value < before
    for zero, (_, _, linear) in zip(zeros, model.linears(), strict=True):
        assert torch.equal(linear.weight == 0, zero)


@pytest.mark.parametrize(
    ("slug", "settings"),
    [
        ("slicegpt", {"sparsity": 0.1}),
        ("kvpruner", {"sparsity": 0.1}),
        ("twossp", {"sparsity": 0.4}),
        ("shortgpt", {"sparsity": 0.5}),
    ],
)
@every_way
def test_models_of_other_methods_learn(slug: str, settings, how: str):
    model = pruned(slug, **settings)
    before = perplexity(model, STREAM.windows).value
    recover(model, asked(how, 10), STREAM)
    assert perplexity(model, STREAM.windows).value < before


@every_way
def test_equal_seeds_give_equal_results(how: str):
    found = []
    for _ in range(2):
        model = pruned("flap", sparsity=0.3)
        with seeded(4):
            losses = recover(model, asked(how, 4), STREAM)
        found.append((losses, fingerprint(model)))
        torch.rand(3)
    assert found[0][0] == found[1][0]
    assert same(found[0][1], found[1][1])


@every_way
def test_lora_changes_only_the_blocks(how: str):
    model = tiny_model()
    before = {name: tensor.clone() for name, tensor in model.outside().items()}
    recover(model, asked(how, 2), STREAM)
    moved = {
        name for name, tensor in model.outside().items() if not torch.equal(tensor, before[name])
    }
    assert bool(moved) == (how == "full")


@pytest.mark.parametrize("slug", ["flap", "wanda"])
def test_distillation_approaches_the_teacher_and_leaves_it_alone(slug: str):
    model, teacher = pruned(slug, sparsity=0.3), tiny_model()
    zeros = [linear.weight == 0 for _, _, linear in model.linears()]
    before, apart = fingerprint(teacher), divergence(model, teacher)
    losses = recover(model, asked("distill"), STREAM, masked=slug == "wanda", teacher=teacher)
    assert losses[0] == pytest.approx(apart, rel=1e-4)  # a step reads the whole stream
    assert divergence(model, teacher) < 0.5 * apart
    assert same(before, fingerprint(teacher))
    assert all(p.grad is None for p in teacher.hf.parameters())
    if slug == "wanda":
        for zero, (_, _, linear) in zip(zeros, model.linears(), strict=True):
            assert torch.equal(linear.weight == 0, zero)


def divergence(model: LanguageModel, teacher: LanguageModel) -> float:
    """Return `KL(teacher || model)`, the mean over the tokens of the stream."""
    ids = STREAM.windows.ids
    with torch.no_grad():
        own, dense = (
            one.hf(ids, use_cache=False).logits.log_softmax(-1) for one in (model, teacher)
        )
    return float((dense.exp() * (dense - own)).sum(dim=-1).mean())


def test_distillation_ignores_the_text_itself():
    # The teacher is the model: the loss is 0, although the next tokens are hard to predict.
    model = tiny_model()
    losses = recover(model, asked("distill", 1), STREAM, teacher=tiny_model())
    assert losses == pytest.approx([0], abs=1e-6)
    with pytest.raises(BadInput, match="needs a teacher"):
        recover(model, asked("distill", 1), STREAM)


def test_reads_whole_steps_of_whole_windows():
    recovery = Recovery.by("lora", 100_000)
    assert (recovery.windows(1024), recovery.steps(1024)) == (1, 98)
    assert (recovery.windows(512), recovery.steps(512)) == (2, 98)
    assert (recovery.windows(2048), recovery.steps(2048)) == (1, 49)
    assert Recovery.by("full", 1).steps(1024) == 1
    assert str(recovery) == "LoRA on 100,000 tokens"


@pytest.mark.parametrize("how", ["full", "distill"])
def test_training_all_weights_needs_float32(how: str):
    with pytest.raises(BadInput, match=r"torch.bfloat16 would round .* --recover lora"):
        check(tiny_model(dtype=torch.bfloat16), Recovery.by(how, 1000))
    check(tiny_model(), Recovery.by(how, 1000))
    check(tiny_model(dtype=torch.bfloat16), Recovery.by("lora", 1000))


def test_refuses_invalid_recovery():
    with pytest.raises(ValidationError, match="rank and scale"):
        Recovery(how="full", tokens=10, rate=1.0, rank=4)
    with pytest.raises(ValidationError, match="rank and scale"):
        Recovery(how="lora", tokens=10, rate=1.0)
    with pytest.raises(ValidationError):
        Recovery.by("lora", 0)
    model = tiny_model()
    model.accelerator = torch.device("meta")
    with pytest.raises(
        BadInput, match=r"--recover needs the whole model .*leave out --accelerator"
    ):
        recover(model, asked("lora"), STREAM)
