"""PruneLLM: entropies, shares, skipped modules, removal, real blocks."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor

from implementations.harness import (
    BadInput,
    LanguageModel,
    Moments,
    Tokens,
    walk,
)
from implementations.harness.contract.helpers import logits
from implementations.harness.contract.tiny import MODEL_TYPES, random_tokens, tiny_model
from implementations.prunellm import PruneLLM
from implementations.prunellm.prunellm import divide_budget, entropy
from tests.masking import mask_units
from tests.observation import inputs

pytestmark = pytest.mark.usefixtures("without_gradients")

every_family = pytest.mark.parametrize("family", list(MODEL_TYPES))


def test_a_common_scale_changes_all_entropies_equally_and_a_constant_none():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 400, 12, generator=generator, dtype=torch.float64)

    def found(tokens: Tensor) -> float:
        return entropy(tokens.var(dim=0, correction=0), "log")

    assert found(3 * x) - found(x) == pytest.approx(12 * math.log(3), rel=1e-3)
    assert found(3 * x) - found(3 * y) == pytest.approx(found(x) - found(y), rel=1e-3)
    assert found(x + torch.arange(12.0)) == pytest.approx(found(x))


def silence(linear: torch.nn.Linear) -> None:
    for parameter in linear.parameters():
        parameter.zero_()


def stream(model: LanguageModel, tokens: Tokens) -> Tensor:
    """Return the output of the last block in the model's own forward pass, `[tokens, hidden]`."""
    seen: list[Tensor] = []

    def keep(_: object, __: object, output: Tensor) -> None:
        seen.append(output)

    handle = model.layers[-1].register_forward_hook(keep)
    logits(model, tokens)
    handle.remove()
    return seen[0].flatten(end_dim=-2).double()


# Entropy


def test_entropy_in_closed_form():
    variance = torch.tensor([4.0, 9.0, 1.0])
    assert entropy(variance, "log") == pytest.approx(math.log(6), abs=1e-5)
    assert entropy(variance, "std") == pytest.approx(6)
    assert entropy(torch.tensor([0.0, 1.0]), "log") == pytest.approx(math.log(1e-6), abs=1e-5)


@every_family
@pytest.mark.parametrize("kind", ["log", "std"])
def test_transfer_entropy_compares_with_skipped_modules(family: str, kind: str):
    model, tokens = tiny_model(family, blocks=3), random_tokens(batch_size=4)
    moved = PruneLLM(entropy=kind).transfer(model, tokens)

    def measured(model: LanguageModel) -> float:
        deviation = stream(model, tokens).std(dim=0)
        return float((deviation + 1e-6).log().sum() if kind == "log" else deviation.sum())

    for index in range(3):
        for column, parts in enumerate((("o",), ("down",), ("o", "down"))):
            twin = copy.deepcopy(model)
            for role in parts:
                silence(twin.blocks[index].linears()[role])
            expected = abs(measured(model) - measured(twin)) / 32
            assert float(moved[index, column]) == pytest.approx(expected, rel=1e-3, abs=1e-6)


def test_transfer_entropy_ignores_the_sign(monkeypatch):
    entropies = iter([10.0, 13.2, 6.8, 10.0, 10.0, 42.0, 10.0])  # the dense model first
    monkeypatch.setattr(PruneLLM, "last_entropy", lambda *_: next(entropies))
    moved = PruneLLM().transfer(tiny_model(), random_tokens())
    assert moved.flatten().tolist() == pytest.approx([0.1, 0.1, 0, 0, 1, 0])


def test_measures_transfer_entropy_on_probes_only():
    model, calls = tiny_model(), []
    module = model.blocks[0].attention.module
    module.register_forward_hook(lambda _, __, output: calls.append(len(output[0])))
    PruneLLM(sparsity=0.2, probes=2).apply(model, random_tokens(6, batch_size=1))
    # One pass of the dense model over 2 windows, one without each module of this block, and one for
    # the block after it, which begins with what this one computes; then one over 6 windows.
    assert sum(calls) == (1 + 3 + 1) * 2 + 6


# Shares


def test_shares_by_hand():
    moved = torch.tensor([8, 3, 1, 0.5, 0.4, 0.6, 1, 5], dtype=torch.float64)
    given = divide_budget(moved, torch.ones(8).double(), 4.0, 1.0, 1.0)
    expected = [0.036, 0.276, 0.627, 0.770, 0.802, 0.739, 0.627, 0.122]
    assert given.tolist() == pytest.approx(expected, abs=5e-4)


def test_shares_meet_the_budget():
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        moved = torch.rand(12, generator=generator).double() ** 3
        sizes = 1 + torch.rand(12, generator=generator).double()
        for target in (0.0, 0.1, 0.5, 0.9, 1.0):
            given = divide_budget(moved, sizes, target * float(sizes.sum()), 1.0, 1.0)
            assert float(given.sum()) == pytest.approx(target * float(sizes.sum()), rel=1e-9)
            ratios = given / sizes
            assert float(ratios.min()) >= 0
            assert float(ratios.max()) <= 1 + 1e-12
            order = ratios[moved.argsort()]
            assert bool((order.diff() <= 1e-12).all())  # more transfer entropy, less to lose
        capped = divide_budget(moved, sizes, 0.5 * float(sizes.sum()), 0.2, 0.7) / sizes
        assert float(capped.max()) <= 0.7 + 1e-12


def test_equal_modules_have_equal_shares():
    for moved in (torch.zeros(4), torch.ones(4)):
        sizes = torch.tensor([1.0, 2.0, 3.0, 4.0]).double()
        assert (divide_budget(moved.double(), sizes, 5.0, 1.0, 1.0) / sizes).tolist() == [0.5] * 4


def test_distributes_over_blocks_then_modules():
    model = tiny_model(blocks=2, intermediate_size=4096, num_key_value_heads=4)
    sizes = torch.tensor([[4 * 32 * 32, 3 * 32 * 4096]] * 2).double()
    transfer = torch.tensor([[1.0, 3.0, 2.0], [1.0, 1.0, 6.0]]).double()
    lost = PruneLLM(sparsity=0.15).lost(model, transfer)
    of_blocks = torch.tensor([math.exp(-2 / 4), math.exp(-6 / 4)])
    of_blocks = of_blocks / of_blocks.sum() * 0.3 * sizes[0].sum()
    for index, parts in enumerate(([1.0, 3.0], [1.0, 1.0])):
        weights = torch.tensor([math.exp(-2 * part / sum(parts)) for part in parts])
        asked = weights * sizes[index]
        asked = asked / asked.sum() * of_blocks[index]
        assert asked[0] < sizes[index, 0]
        assert float(lost[index, 0]) == pytest.approx(float(asked[0]) / 1024, abs=0.51)
        # Channels make up for the rounding of groups.
        weights_lost = float(lost[index] @ torch.tensor([1024, 96]))
        assert weights_lost == pytest.approx(float(of_blocks[index]), abs=96)


@pytest.mark.parametrize(("most", "expected"), [(1.0, [4, 36]), (0.5, [2, 57])])
def test_temperature_and_maximum_apply_inside_a_block(most: float, expected: list[int]):
    # 15 % of 4 * 1,024 + 480 * 96 weights are 7,526. Attention loses all it can, the MLP the rest.
    model = tiny_model(blocks=1, intermediate_size=480, num_key_value_heads=4)
    method = PruneLLM(sparsity=0.15, temperature=0.1, most=most)
    assert method.lost(model, torch.tensor([[1.0, 3.0, 2.0]]).double()).tolist() == [expected]


def test_block_without_effect_can_be_removed():
    model, tokens = tiny_model(blocks=4), random_tokens()
    for linear in (model.blocks[2].attention.o, model.blocks[2].feed_forward.down):
        silence(linear)
    outcome = PruneLLM(sparsity=0.25, temperature=0.02).apply(model, tokens)
    assert outcome.details["kv_groups"] == [2, 2, 0, 2]
    assert outcome.details["channels"] == [48, 48, 0, 48]


def test_removed_module_leaves_its_mean_output(monkeypatch):
    model, tokens = tiny_model(blocks=4), random_tokens()
    twin, moved = copy.deepcopy(model), torch.ones(4, 3)
    moved[2] = 0
    for role in ("o", "down"):
        mean = inputs(model, model.blocks[2].linears()[role], tokens).mean(dim=0)
        linear = twin.blocks[2].linears()[role]
        linear.bias = torch.nn.Parameter((linear.weight @ mean.float()).detach())
        linear.weight.zero_()
    monkeypatch.setattr(PruneLLM, "transfer", lambda *_: moved)
    outcome = PruneLLM(sparsity=0.25, temperature=0.02).apply(model, tokens)
    assert outcome.details["channels"] == [48, 48, 0, 48]
    torch.testing.assert_close(logits(model), logits(twin), rtol=1e-4, atol=1e-4)
    with_bias = {block.index for block, _, linear in model.linears() if linear.bias is not None}
    assert with_bias == {2}  # a layer that loses nothing gets no bias


def test_modules_lose_at_most_their_maximum():
    model = tiny_model(blocks=4, intermediate_size=480)
    with pytest.raises(BadInput, match=r"at most 0\.4"):
        PruneLLM(sparsity=0.5, most=0.4).apply(model, random_tokens())
    outcome = PruneLLM(sparsity=0.35, most=0.4, temperature=0.1).apply(model, random_tokens())
    assert min(outcome.details["channels"]) >= 480 * 0.6 - 1536 / 96  # a group, in channels


# Units


@every_family
def test_removes_units_of_least_fluctuation_and_adds_their_mean(family: str):
    model, tokens = tiny_model(family), random_tokens()
    dense, seen = copy.deepcopy(model), []
    for block in walk(dense, tokens, edits=False):
        seen.append(block.observe(Moments, "o", "down"))
    outcome = PruneLLM(sparsity=0.4).apply(model, tokens)
    twin = copy.deepcopy(dense)
    for index, block in enumerate(twin.blocks):
        for role, kind, left in (
            ("o", "kv-groups", outcome.details["kv_groups"][index]),
            ("down", "channels", outcome.details["channels"][index]),
        ):
            linear, moments = block.linears()[role], seen[index][role]
            columns = moments.variance * linear.weight.double().square().sum(dim=0)
            units = block.attention.kv_heads if kind == "kv-groups" else len(columns)
            kept = columns.view(units, -1).mean(dim=1).argsort(stable=True)[units - left :]
            removed = ~torch.isin(torch.arange(units), kept).repeat_interleave(
                len(columns) // units
            )
            if removed.any():
                mean = (linear.weight.double()[:, removed] @ moments.mean[removed]).float()
                was = 0 if linear.bias is None else linear.bias
                linear.bias = torch.nn.Parameter(was + mean)
            mask_units(block, kind, kept)
    other = random_tokens(seed=1)
    torch.testing.assert_close(logits(model, other), logits(twin, other), rtol=1e-4, atol=1e-4)


def test_without_compensation_no_bias_is_added():
    model = tiny_model()
    PruneLLM(sparsity=0.4, compensate=False).apply(model, random_tokens())
    assert all(linear.bias is None for _, _, linear in model.linears())


@pytest.mark.model
def test_on_real_blocks_compensation_helps(first_blocks):
    kept = first_blocks.error("prunellm", sparsity=0.2, probes=2)
    assert 0 < kept < first_blocks.error("prunellm", sparsity=0.2, probes=2, compensate=False)
    assert kept < first_blocks.error("random", sparsity=0.2)
