"""SparseLLM: a plain fp64 implementation, closed forms, and the real model."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from implementations.harness import (
    BadInput,
    LanguageModel,
    Tokens,
    get_method,
    inverse_factor,
    remove_blocks,
    sparse_solve,
    walk,
)
from implementations.harness.contract.tiny import random_tokens, tiny_model
from implementations.sparsellm import SparseLLM, sparsellm
from implementations.sparsellm.mlp import MLP, ROLES, Inputs, Variables
from tests.observation import FreedByBlock, inputs

pytestmark = pytest.mark.usefixtures("without_gradients")

UNEQUAL = {"alpha": 2.0, "beta": 3.0, "gamma": 5.0, "steps": 3, "rate": 0.02}


def pruned(weight: Tensor, X: Tensor, config: SparseLLM) -> Tensor:
    """Prune by SparseGPT for inputs `X [in, tokens]`, fp64."""
    factor, silent = inverse_factor((X @ X.T).float(), config.damping), (X == 0).all(dim=1)
    group = config.pattern.group if config.pattern else None
    return sparse_solve(weight, factor, silent, config.mask, config.block_size, group).double()


def reference(
    model: LanguageModel, tokens: Tokens, config: SparseLLM, index: int
) -> dict[str, Tensor]:
    """Return the weights of the MLP of one block, in fp64 and with tokens as columns.

    The updates are those of the official code, with alpha and gamma where it has only ones.
    """
    layers = model.blocks[index].linears()
    alpha, beta, gamma = config.alpha, config.beta, config.gamma
    up, down, gate = layers["up"], layers["down"], layers.get("gate")
    bu, bd = (0 if x.bias is None else x.bias.double()[:, None] for x in (up, down))
    X, p = inputs(model, up, tokens).T, inputs(model, down, tokens).T
    Wu, Wd = up.weight.double(), down.weight.double()
    z, Y = Wu @ X + bu, Wd @ p + bd
    Wg = None if gate is None else gate.weight.double()
    s = None if Wg is None else Wg @ X
    for number in range(config.rounds):
        if number > 0:
            Wu, Wd = (z - bu) @ torch.linalg.pinv(X), (Y - bd) @ torch.linalg.pinv(p)
            Wg = None if s is None else s @ torch.linalg.pinv(X)
        Wu, Wd = pruned(Wu, X, config), pruned(Wd, p, config)
        Wg = None if Wg is None else pruned(Wg, X, config)
        a = z.clamp(min=0) if s is None else s * s.sigmoid() * z
        inverse = torch.linalg.inv(beta * Wd.T @ Wd + gamma * torch.eye(len(p)))
        p = inverse @ (beta * Wd.T @ (Y - bd) + gamma * a)
        m = Wu @ X + bu
        if s is None:
            choices = torch.stack([((alpha * m + gamma * p) / (alpha + gamma)).clamp(min=0), m])
            choices[1] = choices[1].clamp(max=0)
            cost = alpha * (choices - m) ** 2 + gamma * (p - choices.clamp(min=0)) ** 2
            z = choices.gather(0, cost.argmin(dim=0, keepdim=True))[0]
            continue
        act = s * s.sigmoid()
        z = (alpha * m + gamma * act * p) / (alpha + gamma * act**2)
        for _ in range(config.steps):
            slope = s.sigmoid() * (1 + s * (1 - s.sigmoid()))  # of silu
            change = 2 * alpha * (s - Wg @ X) - 2 * gamma * (p - s * s.sigmoid() * z) * z * slope
            step = s - config.rate * change
            costs = [
                alpha * (x - Wg @ X) ** 2 + gamma * (p - x * x.sigmoid() * z) ** 2
                for x in (step, s)
            ]
            s = torch.where(costs[0] < costs[1], step, s)
    weights = {"gate": Wg, "up": Wu, "down": Wd}
    return {role: weight for role, weight in weights.items() if weight is not None}


def observed(model: LanguageModel, tokens: Tokens, config: SparseLLM) -> tuple[MLP, Variables]:
    """Prune the first block once; return its MLP and its variables of a single batch."""
    for block in walk(model, tokens):
        mlp = config.first_round(block)
        (variables,) = mlp.batches
        return mlp, variables
    raise AssertionError


def objective(mlp: MLP, v: Variables, config: SparseLLM) -> Tensor:
    parts = [
        config.alpha * (v.Z - mlp.output("up", v.X)).square().sum(),
        config.gamma * (v.P - mlp.product(v.Z, v.S)).square().sum(),
        config.beta * (v.Y - mlp.output("down", v.P)).square().sum(),
    ]
    if v.S is not None:
        parts.append(config.alpha * (v.S - mlp.output("gate", v.X)).square().sum())
    return torch.stack(parts).double().sum()


@pytest.mark.parametrize("family", ["llama", "opt"])
@pytest.mark.parametrize("setting", [{"sparsity": 0.5}, {"pattern": "2:4"}], ids=str)
def test_each_block_follows_the_plain_implementation(family, setting, monkeypatch):
    monkeypatch.setattr(sparsellm, "RIDGE", 1e-9)  # the fits become those by pseudo-inverses
    tokens = random_tokens(20, 24)
    dense = tiny_model(family, seed=1)  # with others, inputs of OPT are nearly linearly dependent
    config, result = SparseLLM(rounds=3, **UNEQUAL, **setting), copy.deepcopy(dense)
    config.apply(result, tokens)
    half = copy.deepcopy(result)
    half.layers[1].load_state_dict(dense.layers[1].state_dict())  # block 0 is pruned
    layers = result.blocks[1].linears()
    for model, agrees in ((half, True), (dense, False)):
        for role, expected in reference(model, tokens, config, 1).items():
            actual = layers[role].weight.double()
            assert torch.allclose(actual, expected, rtol=1e-3, atol=1e-3) == agrees, role


@pytest.mark.parametrize("family", ["qwen2", "opt"])
def test_the_first_round_is_sparsegpt_and_later_ones_leave_the_attention(family):
    tokens, dense = random_tokens(8, 24), tiny_model(family, blocks=1)
    models = {}
    for slug, settings in (("sparsegpt", {}), ("sparsellm", {"rounds": 1}), ("sparsellm", {})):
        models[slug, *settings] = copy.deepcopy(dense)
        get_method(slug)(sparsity=0.6, **settings).apply(models[slug, *settings], tokens)
    for role, linear in models["sparsegpt",].blocks[0].linears().items():
        first, last = (
            models[key].blocks[0].linears()[role].weight
            for key in (("sparsellm", "rounds"), ("sparsellm",))
        )
        assert torch.equal(first, linear.weight), role
        moved = not torch.equal(first == 0, last == 0)
        assert moved == (role in ROLES), role
        assert last.count_nonzero() == linear.weight.count_nonzero()


@pytest.mark.parametrize("family", ["llama", "gemma3", "opt"])
def test_nothing_moves_without_pruning(family):
    model, config = tiny_model(family), SparseLLM(sparsity=0)
    before = copy.deepcopy(model)
    mlp, v = observed(model, random_tokens(8, 24, batch_size=8), config)
    fixed = copy.deepcopy(v)
    for _ in range(3):
        config.next_round(mlp)
    for role, linear in before.blocks[0].linears().items():
        torch.testing.assert_close(
            model.blocks[0].linears()[role].weight, linear.weight, rtol=1e-4, atol=1e-4
        )
    for name in ("Z", "S", "P"):
        torch.testing.assert_close(getattr(v, name), getattr(fixed, name), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", ["llama", "opt"])
def test_every_update_lowers_the_objective(family):
    config = SparseLLM(sparsity=0.6, **UNEQUAL | {"rate": 0.005})
    mlp, v = observed(tiny_model(family), random_tokens(8, 24, batch_size=8), config)
    W = mlp.layers["down"].weight
    K = torch.linalg.solve(W @ W.T + config.gamma / config.beta * torch.eye(len(W)), W)
    values = [objective(mlp, v, config)]
    v.P = config.best_P(mlp, v, K)
    values.append(objective(mlp, v, config))
    v.Z = config.best_Z(mlp, v)
    values.append(objective(mlp, v, config))
    v.S = config.moved_S(mlp, v)
    values.append(objective(mlp, v, config))
    falls = torch.stack(values).diff() < 0
    assert falls.tolist() == [True, True, family == "llama"]


@pytest.mark.parametrize(("alpha", "gamma", "expected"), [(5, 5, 1.8), (1, 3, 25 / 13)])
def test_best_value_of_up_by_hand(alpha, gamma, expected):
    # M = 1, act(S) = 2, P = 4: the minimum of alpha (Z - 1)^2 + gamma (4 - 2 Z)^2.
    one = torch.ones(1, 1)
    mlp = SimpleNamespace(output=lambda role, x: x, activation=lambda s: s)
    v = Variables(X=one, Y=one, Z=one, S=2 * one, P=4 * one)
    assert float(SparseLLM(alpha=alpha, gamma=gamma).best_Z(mlp, v)) == pytest.approx(expected)


def test_best_value_before_relu_is_the_minimum_over_a_grid():
    M, P = torch.meshgrid(torch.linspace(-3, 3, 13), torch.linspace(-3, 3, 13), indexing="ij")
    mlp, config = SimpleNamespace(output=lambda role, x: x), SparseLLM(alpha=2, gamma=3)
    best = config.best_Z(mlp, Variables(X=M, Y=M, Z=M, S=None, P=P))

    def cost(Z: Tensor) -> Tensor:
        return 2 * (Z - M) ** 2 + 3 * (P - Z.clamp(min=0)) ** 2

    grid = torch.stack([cost(Z) for Z in torch.linspace(-4, 4, 8001)]).amin(dim=0)
    torch.testing.assert_close(cost(best), grid, rtol=0, atol=1e-4)


def test_a_fit_starts_from_the_dense_weights(monkeypatch):
    monkeypatch.setattr(SparseLLM, "solve", lambda self, weight, *_: weight)
    mlp, _ = observed(tiny_model(), random_tokens(8, 24, batch_size=8), SparseLLM(sparsity=0.6))
    dense = mlp.dense["up"]
    channels, hidden = dense.shape
    mlp.layers["up"].weight.data.zero_()  # must not matter
    x = torch.eye(hidden)[: hidden // 2]  # half of the inputs are always zero
    SparseLLM().fit(mlp, [x], {"up": [torch.full((hidden // 2, channels), 3.0)]})
    expected = dense.clone()
    ridge = 1e-4 / 2  # a share of the mean diagonal
    expected[:, : hidden // 2] += (3 - expected[:, : hidden // 2]) / (1 + ridge)
    torch.testing.assert_close(mlp.layers["up"].weight.data, expected, rtol=0, atol=1e-6)


def test_weights_of_inputs_that_are_always_zero_are_removed_first():
    model = tiny_model(blocks=1)
    block = model.blocks[0]
    block.module.post_attention_layernorm.weight.data[3] = 0
    block.feed_forward.up.weight.data[:, 3] *= 100
    SparseLLM(sparsity=0.1, rounds=2).apply(model, random_tokens(8, 24))
    for layer in (block.feed_forward.up, block.feed_forward.gate):
        assert not layer.weight[:, 3].any()


def test_variables_are_freed_before_the_next_block(monkeypatch):
    freed = FreedByBlock()
    monkeypatch.setattr(SparseLLM, "first_round", freed.recorded(SparseLLM.first_round))
    monkeypatch.setattr(sparsellm, "walk", freed.checked(walk))
    SparseLLM(sparsity=0.5, rounds=2).apply(tiny_model(blocks=3), random_tokens(8, 24))
    assert len(freed.references) == 3


def test_rounds_lower_the_error_of_the_output():
    model, config = tiny_model(), SparseLLM(sparsity=0.6)
    mlp, _ = observed(model, random_tokens(40, 24, batch_size=40), config)
    first = mlp.error()
    for _ in range(3):
        config.next_round(mlp)
    assert mlp.error() < 0.97 * first


@pytest.mark.parametrize(
    ("family", "settings", "tokens", "message"),
    [
        ("llama", {}, (2, 24), "more calibration tokens than the 48 inputs of down, got 48"),
        ("llama", {"pattern": "2:4", "block_size": 6}, (3, 24), "divisible by the group size 4"),
        ("opt", {}, (3, 24), "only with ReLU, but tiny-opt has gelu"),
    ],
)
def test_refusals(family, settings, tokens, message):
    overrides = {"activation_function": "gelu"} if family == "opt" else {}
    with pytest.raises(BadInput, match=message):
        SparseLLM(**settings).check(tiny_model(family, **overrides), random_tokens(*tokens))


def test_few_tokens_suffice_for_one_round():
    assert SparseLLM(rounds=1).apply(tiny_model(), random_tokens(1, 24)).achieved == 0.5


def test_steps_that_would_overshoot_are_not_taken():
    # The cost is 5 (S - 1)^2 + 5 (P - Z S)^2. From S = 1, the step changes P - Z S from 0.2 to 0.12
    # where Z = 2, but from 1 to -9 where Z = 10.
    Z, one = torch.tensor([[2.0, 10.0]]), torch.ones(1, 2)
    mlp = SimpleNamespace(output=lambda role, x: x, product=lambda Z, S: S * Z)
    v = Variables(X=one, Y=one, Z=Z, S=one, P=Z + Z / 10)
    moved = SparseLLM(steps=1).moved_S(mlp, v)
    torch.testing.assert_close(moved, torch.tensor([[1.04, 1.0]]))


@pytest.mark.model
def test_on_the_real_model_rounds_lower_the_error_on_other_text_too(first_blocks):
    model, config = copy.deepcopy(first_blocks.dense), SparseLLM(sparsity=0.7, rounds=2)
    remove_blocks(model, range(1, 2))
    other = Tokens.from_ids(first_blocks.held_out)
    for block, unseen in zip(
        walk(model, first_blocks.calibration), walk(model, other), strict=True
    ):
        seen = unseen.observe(Inputs, "up", "down")
        dense = MLP(unseen, seen["up"].batches, seen["down"].batches)
        mlp = config.first_round(block)
        first = [mlp.error(), dense.error()]
        config.next_round(mlp)
        assert mlp.error() < 0.95 * first[0]
        assert dense.error() < 0.97 * first[1]
