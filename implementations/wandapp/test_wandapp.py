"""Wanda++: gradients and scores by hand, training inside the block, and the real model."""

from __future__ import annotations

import copy
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from implementations.harness import (
    LanguageModel,
    Tokens,
    WalkedBlock,
    block_outputs,
    get_method,
    walk,
)
from implementations.harness.contract.helpers import fingerprint, same
from implementations.harness.contract.tiny import random_tokens, tiny_model
from implementations.wandapp import WandaPP, wandapp
from implementations.wandapp.wandapp import regional_gradients, scores, window_norms

pytestmark = pytest.mark.usefixtures("without_gradients")

CALIBRATION = random_tokens(6, 24)
RATE = 1e-3  # the tiny models have large weights


def pruned(
    dense: LanguageModel, tokens: Tokens = CALIBRATION, seed: int = 0, **settings: Any
) -> tuple[LanguageModel, dict[str, Any]]:
    model = copy.deepcopy(dense)
    return model, WandaPP(**settings).apply(model, tokens, seed).details


def weights(model: LanguageModel) -> list[Tensor]:
    return [linear.weight for _, _, linear in model.linears()]


def masks(model: LanguageModel) -> Tensor:
    return torch.cat([(weight == 0).flatten() for weight in weights(model)])


def first_block(model: LanguageModel, tokens: Tokens = CALIBRATION) -> WalkedBlock:
    return next(walk(model, replace(tokens, batch_size=1)))


def own(block: WalkedBlock) -> dict[str, Tensor]:
    return {r: x.weight.detach().clone().requires_grad_() for r, x in block.linears().items()}


# Scores


def test_scores_by_hand():
    weight = torch.tensor([[2.0, -1, 1, -3]])
    gradients = torch.tensor([[0.01, 0.02, 0, 0.03]])
    norms = torch.tensor([1.0, 4, 2, 0])
    torch.testing.assert_close(
        scores(weight, gradients, norms, alpha=100), torch.tensor([[4.0, 6, 2, 9]])
    )


# Kept weights according to the reproduction (commit 71e01bb).
WEIGHT = [[0.7, 1.7, -1.4, 1, 1.2, 0.5, 0.4, -0.1], [-2.1, -1, 0.9, -0.6, 1.9, 0.3, -0.8, 0.1]]
GRADIENTS = [[5.0, 1, 2, 0, 3, 4, 1, 9], [1, 0, 3, 6, 0, 9, 2, 4]]  # in hundredths
KEPT = {
    "2:4": [[0, 1, 1, 0, 1, 1, 0, 0], [0, 0, 1, 1, 0, 1, 1, 0]],
    "4:8": [[1, 1, 1, 0, 1, 0, 0, 0], [1, 0, 1, 1, 0, 0, 1, 0]],
}


@pytest.mark.parametrize("pattern", KEPT)
def test_masks_equal_those_of_the_reproduction(pattern: str):
    W, G = torch.tensor(WEIGHT), torch.tensor(GRADIENTS) / 100
    norms = torch.tensor([1.0, 4, 2, 3, 1, 2, 5, 9])
    removed = WandaPP(pattern=pattern).choose(scores(W, G, norms, alpha=100))
    assert (~removed).int().tolist() == KEPT[pattern]


def test_gradients_are_those_of_each_windows_output_norm():
    """`down` acts after everything else: its gradient is `Y^T X / ||Y||_F`."""
    dense = tiny_model()
    block = first_block(dense)
    G = regional_gradients(block, own(block), range(6))["down"]
    inputs: list[Tensor] = []
    handle = block.linears()["down"].register_forward_pre_hook(lambda _, x: inputs.append(x[0][0]))
    Y = [y[0] for y in block_outputs(block)]
    handle.remove()
    each = torch.stack([y.T @ x / y.norm() for x, y in zip(inputs, Y, strict=True)])
    torch.testing.assert_close(G, each.square().mean(dim=0).sqrt())
    assert not torch.allclose(G, each.mean(dim=0).abs(), rtol=0.1)
    alone = regional_gradients(block, own(block), [3])["down"]
    torch.testing.assert_close(alone, each[3].abs())


def test_a_block_without_output_has_no_gradients():
    dense = tiny_model()
    block = first_block(dense)
    for host in block.boundary.hidden:
        host.zero_()
    for layer in block.linears().values():
        layer.weight.zero_()
    G = regional_gradients(block, own(block), range(6))
    assert all(bool((each == 0).all()) for each in G.values())


@pytest.mark.parametrize("settings", [{"sparsity": 0.5}, {"pattern": "2:4"}], ids=str)
def test_without_gradients_and_training_it_is_wanda(settings: dict[str, Any]):
    dense, wanda = tiny_model(), tiny_model()
    get_method("wanda").configure(**settings).apply(wanda, CALIBRATION)
    model, details = pruned(dense, alpha=0, rounds=0, **settings)
    assert same(fingerprint(model), fingerprint(wanda))
    assert details["error_before"] == details["error_after"]
    assert not torch.equal(masks(pruned(dense, rounds=0, **settings)[0]), masks(wanda))


def test_with_a_large_alpha_the_order_is_that_of_the_gradients():
    dense = tiny_model()
    block = first_block(dense)
    G = regional_gradients(block, own(block), range(6))
    model, details = pruned(dense, alpha=1e9, rounds=0)
    for role, layer in dense.blocks[0].linears().items():
        lowest = (layer.weight.abs() * G[role]).argsort(dim=1)[:, : layer.in_features // 2]
        zeros = model.blocks[0].linears()[role].weight == 0
        assert zeros.gather(1, lowest).all()
    assert min(details["balance"][0].values()) > 1e5


def test_copies_of_the_samples_change_nothing():
    dense, twice = tiny_model(), Tokens.from_ids(torch.cat([CALIBRATION.ids] * 2))
    block, both = first_block(dense), first_block(dense, twice)
    for one, two in (
        (
            regional_gradients(block, own(block), range(6)),
            regional_gradients(both, own(both), range(12)),
        ),
        (window_norms(block, {}, range(6)), window_norms(both, {}, range(12))),
    ):
        for role in one:
            torch.testing.assert_close(one[role], two[role])


# Training


def one_matrix(
    W: np.ndarray, X: np.ndarray, rest: np.ndarray, rounds: list[list[int]], alpha: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return G and the 2:4 pruned weight of a block that computes `X W^T + rest`, by the formulas.

    `W` is `[out, in]`, the inputs `X` are `[windows, length, in]`, and `rest` is `[windows, length,
    out]`. `rounds` are the windows that each round draws.
    """
    target = X @ W.T + rest
    slopes = [y.T @ x / np.sqrt((y**2).sum()) for y, x in zip(target, X, strict=True)]
    G = np.sqrt(np.mean(np.square(slopes), axis=0))

    def masked(W: np.ndarray, windows: list[int]) -> np.ndarray:
        norms = np.sqrt((X[windows] ** 2).sum(axis=(0, 1)) / len(windows))
        groups = ((alpha * G + norms) * abs(W)).reshape(len(W), -1, 4)
        places = groups.argsort(axis=2).argsort(axis=2)  # 0 is the lowest score
        return np.where(places < 2, 0, W.reshape(groups.shape)).reshape(W.shape)

    squares = np.zeros_like(W)
    for drawn in rounds:
        W = masked(W, drawn)
        for n in drawn:
            slope = 2 * (X[n] @ W.T + rest[n] - target[n]).T @ X[n]
            squares = 0.99 * squares + 0.01 * slope**2
            W = W - RATE * slope / (np.sqrt(squares) + 1e-8)
    return G, masked(W, list(range(len(X))))


@pytest.mark.parametrize("alpha", [10.0, 100.0])
def test_one_matrix_equals_a_second_version_in_numpy(alpha: float):
    """Only `down` is pruned and trained, on which the output of the block depends linearly."""
    method = WandaPP(pattern="2:4", alpha=alpha, rounds=3, windows=4, rate=RATE)
    block = first_block(tiny_model())
    layer, inputs = block.linears()["down"], []
    with layer.register_forward_pre_hook(lambda _, x: inputs.append(x[0][0].double().numpy())):
        targets = block_outputs(block)
    weights = {"down": own(block)["down"]}
    G = regional_gradients(block, weights, range(6))
    torch.manual_seed(0)
    method.train(block, weights, G, targets)
    result = method.masked(weights, G, window_norms(block, weights, range(6)))["down"]

    torch.manual_seed(0)
    rounds = [torch.randperm(6)[:4].tolist() for _ in range(3)]
    W, X = layer.weight.double().numpy(), np.stack(inputs)
    rest = torch.cat(targets).double().numpy() - X @ W.T
    expected_G, expected = one_matrix(W, X, rest, rounds, alpha)
    np.testing.assert_allclose(G["down"].numpy(), expected_G, rtol=1e-4)
    assert ((result.detach().numpy() == 0) == (expected == 0)).all()
    np.testing.assert_allclose(result.detach().numpy(), expected, rtol=1e-3, atol=1e-5)
    assert abs(expected - W)[expected != 0].mean() > 10 * RATE


@pytest.mark.parametrize("settings", [{"sparsity": 0.5}, {"pattern": "2:4"}], ids=str)
def test_training_lowers_the_error_and_keeps_the_pattern(settings: dict[str, Any]):
    dense = tiny_model()
    model, details = pruned(dense, rate=RATE, **settings)
    for before, after in zip(details["error_before"], details["error_after"], strict=True):
        assert after < 0.95 * before
    for old, new in zip(weights(dense), weights(model), strict=True):
        groups = new.unflatten(1, (-1, 4 if "pattern" in settings else new.shape[1]))
        assert (groups.count_nonzero(dim=-1) * 2 == groups.shape[-1]).all()
        assert not torch.equal(old[new != 0], new[new != 0])


def test_without_steps_rounds_do_not_matter_and_weights_stay():
    dense = tiny_model()
    once, often = (pruned(dense, rate=0, rounds=rounds)[0] for rounds in (1, 4))
    assert same(fingerprint(once), fingerprint(often))
    for old, new in zip(weights(dense), weights(once), strict=True):
        assert torch.equal(old[new != 0], new[new != 0])
    assert not same(fingerprint(once), fingerprint(dense))


def test_rounds_use_the_drawn_windows_and_train_zeroed_weights(monkeypatch: pytest.MonkeyPatch):
    """The first norms are those of all windows, and so are the last; all with current weights."""
    seen: list[list[int]] = []
    zeros: list[float] = []
    everywhere: list[Tensor] = []

    def recorded(block: WalkedBlock, weights: Any, windows: Any) -> dict[str, Tensor]:
        seen.append(sorted(windows))
        zeros.append(float((weights["down"] == 0).float().mean()))
        everywhere.append(window_norms(block, weights, range(6))["down"])
        return window_norms(block, weights, windows)

    monkeypatch.setattr("implementations.wandapp.wandapp.window_norms", recorded)
    pruned(tiny_model(blocks=1), rounds=3, windows=4, rate=RATE)
    assert all(not torch.allclose(a, b, rtol=1e-4) for a, b in pairwise(everywhere[1:]))
    everything = list(range(6))
    assert [seen[0], seen[-1]] == [everything] * 2
    assert {len(set(drawn)) for drawn in seen[1:-1]} == {4}
    assert len({tuple(drawn) for drawn in seen[1:-1]}) > 1
    assert zeros == [0] * 5


def test_every_step_is_one_window_towards_the_dense_block_on_the_same_inputs(
    monkeypatch: pytest.MonkeyPatch,
):
    """The inputs are those of the pruned model. Steps are replaced by a record of their losses."""
    dense = tiny_model(blocks=2)
    half, _ = pruned(dense, rounds=0)
    half.layers[1].load_state_dict(dense.layers[1].state_dict())
    block = list(walk(half, replace(CALIBRATION, batch_size=1)))[1]
    targets = block_outputs(block)
    stepped: list[Tensor] = []
    monkeypatch.setattr(
        "implementations.wandapp.wandapp.gradient_step",
        lambda _, loss, where: stepped.append(loss.detach()) if where == "block 1" else None,
    )
    method = WandaPP(rounds=1)
    method.apply(copy.deepcopy(dense), CALIBRATION)
    layers = block.linears()
    G = regional_gradients(block, own(block), range(6))
    once = method.masked(own(block), G, window_norms(block, {}, range(6)))
    for role, layer in layers.items():
        layer.weight.copy_(once[role])
    errors = [(y - t).square().sum() for y, t in zip(block_outputs(block), targets, strict=True)]
    torch.testing.assert_close(torch.stack(stepped).sort()[0], torch.stack(errors).sort()[0])


def test_all_rounds_of_a_block_share_one_rmsprop(monkeypatch: pytest.MonkeyPatch):
    used: list[torch.optim.Optimizer] = []
    monkeypatch.setattr(wandapp, "gradient_step", lambda optimiser, *_: used.append(optimiser))
    WandaPP(rounds=3).apply(tiny_model(blocks=1), CALIBRATION)
    assert len(used) == 3 * 6
    assert len({id(one) for one in used}) == 1
    assert type(used[0]) is torch.optim.RMSprop
    assert used[0].defaults["alpha"] == 0.99


def test_steps_in_bf16_are_not_lost():
    """Each step is far below half of the distance between two large numbers in bf16."""
    dense = tiny_model(blocks=1, dtype=torch.bfloat16)
    model, _ = pruned(dense, rate=1e-5)
    old, new = (torch.cat([w.flatten() for w in weights(m)]) for m in (dense, model))
    large = (old.abs() > 0.1) & (new != 0)
    assert float((old != new)[large].float().mean()) > 0.1


def test_seeds_draw_the_windows():
    dense = tiny_model()
    results = [fingerprint(pruned(dense, seed=s, rate=RATE, windows=2)[0]) for s in (0, 0, 1)]
    assert same(results[0], results[1])
    assert not same(results[0], results[2])


@pytest.mark.model
def test_on_the_real_model_training_helps(first_blocks: Any):
    model, method = copy.deepcopy(first_blocks.dense), WandaPP(pattern="2:4", rate=1e-4)
    details = method.apply(model, first_blocks.short).details
    for before, after in zip(details["error_before"], details["error_after"], strict=True):
        assert after < before
    wanda = first_blocks.error("wanda", pattern="2:4")
    assert first_blocks.error("wandapp", pattern="2:4", rate=1e-4, alpha=0) < wanda
