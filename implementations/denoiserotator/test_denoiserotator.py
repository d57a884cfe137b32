"""DenoiseRotator: unchanged functions, scores, training, checkpoints, and the real model."""

from __future__ import annotations

import copy
import io
import json
import math
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from implementations.denoiserotator import DenoiseRotator
from implementations.denoiserotator.rotation import Rotation, entropy, fold_gains
from implementations.harness import (
    BadInput,
    LanguageModel,
    NumericsError,
    get_method,
    keep_channels,
    keep_kv_groups,
    keep_units,
)
from implementations.harness.contract.helpers import logits, same
from implementations.harness.contract.pruned_model import continued
from implementations.harness.contract.tiny import random_tokens, tiny_model
from implementations.harness.measure.memory import footprint
from implementations.harness.model.checkpoint import load_checkpoint
from implementations.harness.model.saving import save_model
from implementations.harness.model.units import count_weights, rotations
from tests.observation import inputs

pytestmark = pytest.mark.usefixtures("without_gradients")

BASES = ("wanda", "sparsegpt", "magnitude")
SHAPES = [
    ("llama", {"attention_bias": True, "mlp_bias": True}),  # two query heads per value head
    ("mistral", {}),  # as many value heads
    ("qwen2", {}),  # biases of q, k and v
    ("qwen3", {}),  # one value head, heads wider than hidden / heads
]
HIDDEN = 32


def orthogonal(size: int, *batch: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(*batch, size, size, generator=generator, dtype=torch.float64)
    return torch.linalg.qr(noise).Q


def random_rotation(block, seed: int = 0) -> Rotation:
    attention, hidden = block.attention, block.feed_forward.down.out_features
    heads = orthogonal(attention.head_size, attention.kv_heads, seed=seed + 1)
    return Rotation(orthogonal(hidden, seed=seed), heads)


def rotated(monkeypatch, model: LanguageModel) -> LanguageModel:
    """Rotate every block at random, and prune nothing."""

    def train(self, block, weights, matrices):
        return random_rotation(block, seed=2 * block.index), [1.0]

    with monkeypatch.context() as patch:
        patch.setattr(DenoiseRotator, "train", train)
        patch.setattr(DenoiseRotator, "prune_block", lambda *_: None)
        DenoiseRotator().apply(model, random_tokens())
    return model


def first_block(family: str = "llama", **shape):
    """Return the first block of a tiny model, with its gains folded, and its problem, fp64."""
    model = tiny_model(family, **shape)
    block = model.blocks[0]
    weights, tokens = fold_gains(block), random_tokens()
    X = {role: inputs(model, linear, tokens) for role, linear in block.linears().items()}
    return block, weights, {role: x.T @ x for role, x in X.items()}, X


@pytest.mark.parametrize(("family", "shape"), SHAPES, ids=lambda value: str(value))
def test_rotations_do_not_change_the_function(family, shape, monkeypatch):
    dense = tiny_model(family, blocks=3, **shape)
    model = rotated(monkeypatch, copy.deepcopy(dense))
    torch.testing.assert_close(logits(model), logits(dense), rtol=1e-4, atol=1e-4)
    for before, after in zip(dense.blocks, model.blocks, strict=True):
        for role, linear in after.linears().items():
            assert not torch.allclose(linear.weight, before.linears()[role].weight, atol=0.1), role
    names = [rotations(block) for block in model.blocks]
    assert names == [["entry_rotation"]] * 2 + [["entry_rotation", "exit_rotation"]]


@pytest.mark.parametrize("setting", [{"sparsity": 0.5}, {"pattern": "2:4"}], ids=str)
@pytest.mark.parametrize("base", BASES)
def test_without_steps_it_is_the_base_method(base, setting):
    mine, theirs = tiny_model(), tiny_model()
    for block in theirs.blocks:
        fold_gains(block)
    DenoiseRotator(base=base, steps=0, **setting).apply(mine, random_tokens())
    get_method(base).configure(**setting).apply(theirs, random_tokens())
    for (_, _, a), (_, _, b) in zip(mine.linears(), theirs.linears(), strict=True):
        assert torch.equal(a.weight, b.weight)
    for block in mine.blocks:
        for name in rotations(block):
            assert torch.equal(getattr(block.module, name).weight, torch.eye(HIDDEN))


# Scores and entropies.


def test_rotations_keep_the_total_of_magnitude_scores_but_not_of_wanda_scores():
    block, weights, grams, _ = first_block()
    rotation = random_rotation(block)
    for role, weight in weights.items():
        turned = rotation.weight(role, weight)
        torch.testing.assert_close(turned.square().sum(), weight.square().sum())
    down = rotation.weight("down", weights["down"])  # only its outputs are rotated
    torch.testing.assert_close(down.square().sum(0), weights["down"].square().sum(0))
    torch.testing.assert_close(rotation.diagonal("down", grams["down"]), grams["down"].diagonal())
    W, H = torch.tensor([[1.0, 0.0]]), torch.tensor([1.0, 0.0]).diag()
    half = torch.tensor([[1.0, -1.0], [1.0, 1.0]]) / math.sqrt(2)  # by 45 degrees
    rotation = Rotation(half, torch.eye(1)[None])
    scores = rotation.weight("q", W).square() * rotation.diagonal("q", H)
    assert float(scores.sum()) == pytest.approx(0.5)  # 1 without the rotation


@pytest.mark.parametrize("family", ["llama", "mistral"])
def test_scores_are_those_of_the_rotated_weights_and_inputs(family):
    block, weights, grams, X = first_block(family)
    rotation, attention = random_rotation(block), block.attention
    Q, R2 = rotation.stream, torch.block_diag(*rotation.heads)
    of_queries = [R for R in rotation.heads for _ in range(attention.group)]
    R2o = torch.block_diag(*of_queries)
    identity = {role: torch.eye(len(gram)).double() for role, gram in grams.items()}
    left = {"v": R2.T, "o": Q.T, "down": Q.T}
    right = dict.fromkeys(("q", "k", "v", "gate", "up"), Q) | {"o": R2o}
    for role, weight in weights.items():
        turn = right.get(role, identity[role])
        expected = left.get(role, torch.eye(len(weight)).double()) @ weight @ turn
        torch.testing.assert_close(rotation.weight(role, weight), expected)
        turned = X[role] @ turn
        norms = turned.square().sum(dim=0)
        torch.testing.assert_close(rotation.diagonal(role, grams[role]), norms)
        damped = grams[role] + grams[role].diagonal().mean() * identity[role]
        inverse = torch.linalg.inv(turn.T @ damped @ turn).diagonal()
        result = rotation.diagonal(role, torch.linalg.inv(damped))
        torch.testing.assert_close(result, inverse)


def test_entropy_by_hand():
    scores = torch.tensor([[2.0, 2, 2, 2], [0, 5, 0, 0], [0, 0, 0, 0], [1, 1, 0, 0]])
    expected = math.log(4) + math.log(2)
    for scale in (1, 1e-12, 1e12):
        assert float(entropy(scores * scale, 1)) == pytest.approx(expected)
        assert float(entropy(scores.T * scale, 0)) == pytest.approx(expected)
    rows_apart = torch.tensor([[1.0, 1], [100, 100]])  # not over the whole matrix
    assert float(entropy(rows_apart, 1)) == pytest.approx(2 * math.log(2))


def test_zeros_do_not_spoil_the_gradient():
    W = torch.tensor([[1.0, 2, 0], [0, 0, 0]])
    with torch.enable_grad():
        W.requires_grad_()
        entropy(W.square(), 1).backward()
    assert W.grad.isfinite().all()
    assert W.grad[0, :2].abs().min() > 0.1


# Entropies of the official code (commit 934f4ef) in fp32, with the inverse damped once: for given
# rotations, and after 20 steps from the identity.
OFFICIAL = {
    "wanda": (80.337097, 59.699337),
    "sparsegpt": (89.338890, 69.004112),
    "magnitude": (90.426956, 75.842087),
}


def official_problem():
    """Return a block of hidden size 8 with four query heads and two value heads, by formula."""
    shapes = {"q": (8, 8), "k": (4, 8), "v": (4, 8), "o": (8, 8)}
    shapes |= {"gate": (6, 8), "up": (6, 8), "down": (8, 6)}
    weights, grams = {}, {}
    for number, (role, (out, width)) in enumerate(shapes.items()):
        n = torch.arange(out * width, dtype=torch.float64).view(out, width)
        weights[role] = (n * (1.3 + number)).sin()
        t = torch.arange(3 * width * width, dtype=torch.float64).view(-1, width)
        X = (t * {"k": 0.7, "v": 0.7, "q": 0.7, "gate": 0.9, "up": 0.9}.get(role, 1.1)).cos()
        X = X * torch.arange(1, width + 1)
        grams[role] = X.T @ X
    A = torch.eye(8, dtype=torch.float64) + 0.3 * torch.arange(64.0).view(8, 8).sin()
    B = torch.eye(2, dtype=torch.float64) + 0.3 * torch.arange(8.0).view(2, 2, 2).cos()
    return weights, grams, A, B


def inverted(gram: Tensor) -> Tensor:
    """Return the inverse of a Gram matrix with the default damping."""
    return torch.linalg.inv(gram + 0.01 * gram.diagonal().mean() * torch.eye(len(gram)))


def matrices_for(base: str, grams: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the matrices that the scores of a base method contain."""
    if base == "magnitude":
        return {}
    return {role: inverted(gram) for role, gram in grams.items()} if base == "sparsegpt" else grams


@pytest.mark.parametrize("base", BASES)
def test_entropies_equal_those_of_the_official_code(base):
    weights, grams, A, B = official_problem()
    matrices = matrices_for(base, grams)
    method, (given, trained) = DenoiseRotator(base=base, steps=20), OFFICIAL[base]
    loss = method.loss(Rotation.of(A, B), weights, matrices)
    assert float(loss) == pytest.approx(given, rel=1e-5)
    single = {role: matrix.float() for role, matrix in matrices.items()}
    block = SimpleNamespace(index=0, attention=SimpleNamespace(head_size=2, kv_heads=2))
    _, losses = method.train(block, weights, single)
    assert losses[-1] == pytest.approx(trained, rel=5e-5)


# Training.


@pytest.mark.parametrize("base", BASES)
def test_gradients_equal_finite_differences(base):
    weights, grams, A, B = official_problem()
    method, matrices = DenoiseRotator(base=base), matrices_for(base, grams)

    def loss(A: Tensor, B: Tensor) -> Tensor:
        return method.loss(Rotation.of(A, B), weights, matrices)

    with torch.enable_grad():
        torch.autograd.gradcheck(loss, (A.requires_grad_(), B.requires_grad_()))


@pytest.mark.parametrize("base", BASES)
def test_training_lowers_the_entropy_by_rotations(base):
    block, weights, grams, _ = first_block()
    method = DenoiseRotator(base=base, steps=20)
    matrices = matrices_for(base, {role: gram.float() for role, gram in grams.items()})
    rotation, losses = method.train(block, weights, matrices)
    assert len(losses) == 21
    assert losses[-1] == min(losses) < 0.9 * losses[0]  # the last step counts, too
    for Q in (rotation.stream, *rotation.heads):
        torch.testing.assert_close(Q.T @ Q, torch.eye(len(Q)).double(), rtol=0, atol=1e-12)
    assert not torch.allclose(rotation.heads.abs(), torch.eye(8).double(), atol=0.01)


def test_training_returns_the_rotation_with_the_lowest_entropy(monkeypatch):
    block, weights, _, _ = first_block()
    method, loss, calls = DenoiseRotator(base="magnitude", steps=20), DenoiseRotator.loss, []

    def rising(*arguments):
        calls.append(arguments)
        return loss(*arguments) + 1000 * (len(calls) > 8)

    monkeypatch.setattr(DenoiseRotator, "loss", rising)
    rotation, losses = method.train(block, weights, {})
    monkeypatch.setattr(DenoiseRotator, "loss", loss)
    assert losses.index(min(losses)) == 7
    single = {role: weight.float() for role, weight in weights.items()}
    again = method.loss(rotation.to(torch.float32), single, {})
    assert float(again) == pytest.approx(min(losses), rel=1e-6)


def test_a_row_gathers_on_one_weight():
    shapes = {"q": (1, 2), "k": (1, 2), "v": (2, 2), "o": (2, 2)}
    shapes |= {"gate": (1, 2), "up": (1, 2), "down": (2, 1)}
    weights = {role: torch.zeros(shape).double() for role, shape in shapes.items()}
    weights["q"] = torch.tensor([[1.0, 0.9]]).double()
    block = SimpleNamespace(index=0, attention=SimpleNamespace(head_size=2, kv_heads=1))
    rotation, losses = DenoiseRotator(base="magnitude", steps=300).train(block, weights, {})
    assert losses[0] == pytest.approx(0.6876, abs=1e-3)  # p = 1 / 1.81
    assert min(losses) < 1e-3
    row = rotation.weight("q", weights["q"]).abs().sort().values[0]
    torch.testing.assert_close(row, torch.tensor([0, 1.81**0.5]).double(), rtol=0, atol=0.02)


@pytest.mark.parametrize("base", ["wanda", "sparsegpt"])
def test_each_block_is_trained_on_the_pruned_ones_before_it(base, monkeypatch):
    model, tokens, seen = tiny_model(blocks=3), random_tokens(), []
    statistics = DenoiseRotator.statistics

    def recorded(self, block):
        seen.append(statistics(self, block))
        return seen[-1]

    monkeypatch.setattr(DenoiseRotator, "statistics", recorded)
    dense = copy.deepcopy(model)
    outcome = DenoiseRotator(base=base, steps=5).apply(model, tokens)
    half = copy.deepcopy(dense)
    for index in (0, 1):
        half.layers[index] = model.layers[index]
    # Block 2 is still dense, so it must read the dense basis.
    last = half.layers[1]
    undo = torch.linalg.multi_dot([half.layers[i].entry_rotation.weight for i in (1, 0)])
    last.register_forward_hook(lambda _, __, output: output @ undo)
    fold_gains(half.blocks[2])
    for role, linear in half.blocks[2].linears().items():
        x = inputs(half, linear, tokens)
        expected = x.T @ x if base == "wanda" else inverted(x.T @ x)
        close = 1e-4 * float(expected.abs().max())
        torch.testing.assert_close(seen[2][role].double(), expected, rtol=0, atol=close)
    assert all(after < before for before, after in outcome.details["entropies"])


# The added matrices: counted, saved, and refused where they do not fit.


def test_added_matrices_are_counted():
    model, dense = tiny_model(blocks=3), tiny_model(blocks=3)
    outcome = DenoiseRotator(steps=2).apply(model, random_tokens())
    added, (total, _) = 4 * HIDDEN**2, count_weights(dense)
    assert count_weights(model) == (total + added, total // 2 + added)
    assert (outcome.requested, outcome.achieved) == (0.5, pytest.approx(0.5 - added / total))
    assert "it adds 18 % more weights); compare it with other methods" in outcome.warnings[0]
    sizes = footprint(model), footprint(dense)
    for name in ("parameters", "macs"):
        assert getattr(sizes[0], name) - getattr(sizes[1], name) == added
    assert sizes[0].nonzero == sizes[1].nonzero - total // 2 + added


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_reloads_exactly_with_and_without_this_package(dtype, tmp_path, monkeypatch):
    model = tiny_model("qwen2", dtype=dtype)
    DenoiseRotator(steps=3).apply(model, random_tokens())
    save_model(model, tmp_path / "1")
    config = json.loads((tmp_path / "1" / "config.json").read_text())
    names = [["entry_rotation"], ["entry_rotation", "exit_rotation"]]
    assert [shape["rotations"] for shape in config["pruned_shapes"]] == names
    assert "\n- block 1: exit_rotation\n" in (tmp_path / "1" / "README.md").read_text()
    ours = load_checkpoint(tmp_path / "1")
    outside = AutoModelForCausalLM.from_pretrained(
        tmp_path / "1", trust_remote_code=True, dtype="auto"
    )
    outside.save_pretrained(tmp_path / "2")
    save_model(LanguageModel(outside), tmp_path / "3")
    file, prompts = io.BytesIO(), random_tokens(2, 6, seed=2).ids
    torch.save(model.hf, file)
    file.seek(0)
    copies = (copy.deepcopy(model.hf), torch.load(file, weights_only=False))
    loaded = (ours, outside, load_checkpoint(tmp_path / "2"), load_checkpoint(tmp_path / "3"))
    for hf in (*copies, *loaded):
        again = LanguageModel(hf)
        assert hf.dtype == dtype
        assert torch.equal(logits(again), logits(model))
        assert same(hf.state_dict(), model.hf.state_dict())
        for cache in (True, False):
            expected = continued(model, prompts, cache)
            assert torch.equal(continued(again, prompts, cache), expected)


def test_a_rotated_model_is_not_pruned_again():
    model = tiny_model()
    DenoiseRotator(steps=0).apply(model, random_tokens())
    for slug in ("wanda", "flap"):
        with pytest.raises(BadInput, match="its residual stream was rotated by an earlier method"):
            get_method(slug)().apply(model, random_tokens())


def test_refuses_what_does_not_fit():
    model = tiny_model()
    with pytest.raises(BadInput, match=r"`sparsity` must be above 0\.2, got 0\.2: the rotations"):
        DenoiseRotator(sparsity=0.2).check(model, random_tokens())
    sparse = DenoiseRotator(base="sparsegpt", pattern="4:8", block_size=12)
    with pytest.raises(BadInput, match="`block_size` must be divisible by the group size 8"):
        sparse.check(model, random_tokens())
    keep_units(model.blocks[1], "value-dims", range(4))
    with pytest.raises(BadInput, match="needs whole layers, but block 1, v holds only some"):
        DenoiseRotator().check(model, random_tokens())


@pytest.mark.parametrize("base", BASES)
def test_prunes_blocks_that_lost_a_part(base):
    model = tiny_model(blocks=4)
    keep_kv_groups(model.blocks[1].attention, [])
    keep_channels(model.blocks[2].feed_forward, [])
    DenoiseRotator(base=base, steps=2).apply(model, random_tokens())
    assert logits(model).isfinite().all()


@pytest.mark.parametrize(
    ("scale", "rate", "message"),
    [
        (1.0, 1e308, r"after \d training steps is nan; use a `rate` below 1e\+308"),
        (1e25, 0.01, "after 0 training steps is nan; weights or activations are too large"),
    ],
)
def test_an_entropy_that_is_not_finite_is_refused(scale, rate, message):
    block, weights, matrices, _ = first_block()
    weights = {role: weight * scale for role, weight in weights.items()}
    floats = {role: matrix.float() for role, matrix in matrices.items()}
    with pytest.raises(NumericsError, match=message):
        DenoiseRotator(rate=rate).train(block, weights, floats)


@pytest.mark.model
def test_real_blocks_compute_the_same_with_a_lower_entropy(first_blocks, monkeypatch):
    model = copy.deepcopy(first_blocks.dense)
    monkeypatch.setattr(DenoiseRotator, "prune_block", lambda *_: None)
    outcome = DenoiseRotator(steps=5).apply(model, first_blocks.short)
    moved = first_blocks.run(model) - first_blocks.outputs
    assert moved.square().sum() < 1e-6 * first_blocks.outputs.square().sum()
    for before, after in outcome.details["entropies"]:
        assert after < 0.85 * before
