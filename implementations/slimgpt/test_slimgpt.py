"""SlimGPT: closed forms, a slow reference implementation, whole models, a real model."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from implementations.harness import (
    Block,
    LanguageModel,
    Tokens,
    damped_inverse,
    keep_channels,
    keep_kv_groups,
)
from implementations.harness.contract.pruned_model import rows_left
from implementations.harness.contract.tiny import MODEL_TYPES, random_tokens, tiny_model
from implementations.slimgpt import SlimGPT
from implementations.slimgpt.benchmark_slimgpt import plain
from implementations.slimgpt.slimgpt import errors, group_sizes, ratios, remove
from tests.observation import inputs
from tests.one_layer import damped, layer_error

pytestmark = pytest.mark.usefixtures("without_gradients")

every_family = pytest.mark.parametrize("family", list(MODEL_TYPES))

UNITS = [  # width of a unit, how many go at a time
    (8, [1, 1, 1, 1]),
    (4, [1] * 9),
    (1, [8, 4, 2, 1, 1, 1]),
    (1, [1] * 12),
    (1, [20]),
]


def problem(seed: int = 0, width: int = 48, out: int = 12, tokens: int = 200):
    """Return weights `[out, width]` and the Gram matrix of correlated inputs, fp64."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(width, width, generator=generator, dtype=torch.float64)
    X = torch.randn(tokens, width, generator=generator, dtype=torch.float64) @ mix
    return torch.randn(out, width, generator=generator, dtype=torch.float64), X.T @ X


def solved(W: Tensor, H: Tensor, width: int, counts: list[int], damping: float = 0.01, **settings):
    """Return the corrected weight and its kept columns, as the method computes them."""
    W = W.clone()
    silent = H.diagonal() == 0
    kept = remove(W, damped_inverse(H, damping), silent, width, counts, **settings)
    return W, kept.repeat_interleave(width)


def scores(W: Tensor, H: Tensor, width: int) -> Tensor:
    """Return the estimated error of every unit of a whole layer."""
    units = torch.arange(len(H)).view(-1, width)
    return errors(W, torch.linalg.inv(H), torch.zeros(len(H), dtype=torch.bool), units)


# The share of each block


@pytest.mark.parametrize("blocks", [2, 3, 30, 32, 80])
def test_ratios_rise_with_the_logarithm_of_depth(blocks: int):
    r = ratios(0.2, 0.05, blocks).tolist()
    for i, share in enumerate(r):
        eq6 = r[0] + (r[-1] - r[0]) * math.log(i + 1) / math.log(blocks)
        assert share == pytest.approx(eq6, abs=1e-12)
    assert r[0] == pytest.approx(0.05)
    assert r == sorted(r)
    assert sum(r) / blocks == pytest.approx(0.2)
    mean_rise = math.lgamma(blocks + 1) / (blocks * math.log(blocks))  # log(n!) / (n log n)
    assert r[-1] == pytest.approx(0.05 + 0.15 / mean_rise)


def test_ratios_by_hand():
    assert ratios(0.5, 0.125, 2).tolist() == pytest.approx([0.125, 0.875])
    assert ratios(0.5, 0.125, 30)[-1] == pytest.approx(0.6375, abs=5e-5)
    assert ratios(0.3, 0.3, 5).tolist() == pytest.approx([0.3] * 5)
    assert ratios(0.3, 0.075, 1).tolist() == [0.3]


@pytest.mark.parametrize(
    ("first", "last", "heads", "parameters"),
    [
        (0.0625, 0.25, [2, 3, 4, 4, *[5] * 3, *[6] * 6, *[7] * 10, *[8] * 9], 5_439_029_248),
        (0.125, 0.65625, None, 3_396_907_008),
    ],
)
def test_settings_of_the_paper_give_its_model_sizes(first, last, heads, parameters):
    mean = first + (last - first) * math.lgamma(33) / (32 * math.log(32))
    r = ratios(mean, first, 32).tolist()
    lost = [round(32 * share) for share in r]
    assert heads in (None, lost)
    channels = sum(round(11008 * share) for share in r)
    outside = 2 * 32000 * 4096 + 65 * 4096  # embeddings, norms
    inside = (32 * 32 - sum(lost)) * 4 * 128 * 4096 + (32 * 11008 - channels) * 3 * 4096
    assert outside + inside == parameters


def test_channels_are_removed_in_shrinking_groups():
    assert group_sizes(384) == [96, 48, 24, 12, *[8] * 25, 4]
    assert group_sizes(8192)[:3] == [1024, 512, 256]
    assert group_sizes(5) == [5]
    assert group_sizes(0) == group_sizes(0, "paper-code") == []


@pytest.mark.parametrize(
    ("channels", "steps", "first"),
    [
        (5504, 54, [1024, 992, 240, 64]),
        (2752, 25, [1024, 304, 64]),
        (768, 11, [128, 64]),
        (384, 6, [64, 64]),
    ],
)
def test_groups_equal_those_of_the_official_code(channels: int, steps: int, first: list[int]):
    sizes = group_sizes(channels, "paper-code")
    assert len(sizes) == steps
    assert sizes[: len(first)] == first


@pytest.mark.parametrize("schedule", ["halving", "paper-code"])
def test_groups_add_up_and_never_grow(schedule):
    for channels in range(1, 3000, 7):
        sizes = group_sizes(channels, schedule)
        assert sum(sizes) == channels
        assert sizes == sorted(sizes, reverse=True)
        assert min(sizes) > 0


# The estimate of a unit's error


@pytest.mark.parametrize("width", [1, 4, 12])
def test_column_errors_assume_earlier_columns_are_removed(width: int):
    _, H = problem()
    for column in range(48):
        W = torch.zeros(3, 48, dtype=torch.float64)
        W[:, column] = torch.tensor([1.0, -2.0, 2.0])  # squared norm 9
        unit, before = column // width, torch.arange(column // width * width, column)
        rest = torch.tensor([i for i in range(48) if i not in before])
        inverse = torch.linalg.inv(H[rest][:, rest])
        position = rest.tolist().index(column)
        expected = torch.zeros(48 // width, dtype=torch.float64)
        expected[unit] = 9 / inverse[position, position]  # Eq. 4 without the columns before
        torch.testing.assert_close(scores(W, H, width), expected, rtol=1e-8, atol=0)


def test_finds_the_cheapest_head_more_often_than_the_diagonal_of_the_inverse():
    by_groups = by_columns = 0
    for seed in range(100):
        W, H = problem(seed, width=24)
        inverse, heads = torch.linalg.inv(H), torch.arange(24).view(6, 4)
        own = inverse[heads[:, :, None], heads[:, None, :]]  # [heads, 4, 4]
        of_heads = W[:, heads].movedim(0, 2)  # [heads, 4, out]
        exact = (of_heads * torch.linalg.solve(own, of_heads)).sum(dim=(1, 2))
        of_columns = scores(W, H, 1).view(6, 4).sum(dim=1)
        by_groups += int(scores(W, H, 4).argmin() == exact.argmin())
        by_columns += int(of_columns.argmin() == exact.argmin())
    assert by_groups > 1.5 * by_columns


# Removal


@pytest.mark.parametrize("damping", [0.0, 0.01])
@pytest.mark.parametrize(("width", "counts"), UNITS)
def test_equals_a_plain_loop_with_repeated_inversion(width, counts, damping):
    for seed in range(5):
        W, H = problem(seed)
        expected, stay = plain(W, damped(H, damping), width, counts)
        V, keep = solved(W, H, width, counts, damping)
        assert torch.equal(keep, stay.repeat_interleave(width))
        torch.testing.assert_close(V, expected, rtol=1e-8, atol=1e-8)


def test_without_correction_the_kept_weights_keep_their_values():
    W, H = problem()
    V, keep = solved(W, H, 1, [4, 2, 2], compensate=False)
    assert torch.equal(V[:, keep], W[:, keep])
    assert not V[:, ~keep].any()
    # The inverse is still that of the columns left: the second choice is by the first one's.
    first = scores(W, damped(H), 1).argsort()[:4]
    rest = torch.tensor([i for i in range(48) if i not in first])
    second = rest[scores(W[:, rest], damped(H)[rest][:, rest], 1).argsort()[:2]]
    assert not keep[first].any()
    assert not keep[second].any()


@pytest.mark.parametrize(("width", "counts"), UNITS)
def test_scale_of_the_inputs_does_not_matter(width, counts):
    W, H = problem()
    expected, stay = solved(W, H, width, counts)
    V, keep = solved(W, 7 * H, width, counts)
    assert torch.equal(keep, stay)
    torch.testing.assert_close(V, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("seed", range(5))
def test_one_of_two_proportional_inputs_is_removed_first_at_no_cost(seed: int):
    W, H = problem(seed)
    H[30] = 2 * H[7]  # input 30 is twice input 7
    H[:, 30] = 2 * H[:, 7]
    V, keep = solved(W, H, 1, [1], damping=1e-6)  # without damping, H is singular
    assert (~keep).nonzero().flatten().tolist() in ([7], [30])
    assert layer_error(W, V, H) < 1e-10 * layer_error(W, torch.zeros_like(W), H)


def test_single_removals_lose_less_than_one_large_group():
    relative = []
    for seed in range(10):
        W, H = problem(seed, width=32)
        single, together = (
            layer_error(W, solved(W, H, 1, counts)[0], damped(H)) for counts in ([1] * 16, [16])
        )
        relative.append(single / together)
    assert sum(relative) / 10 < 0.8


@pytest.mark.parametrize(("width", "counts"), [(1, [2, 1, 1]), (1, [4]), (4, [1])])
def test_removes_silent_inputs_first_at_no_cost(width, counts):
    W, H = problem()
    silent = torch.arange(20, 24)  # a whole unit
    H[silent], H[:, silent] = 0, 0
    W[:, silent] = 1e6
    V, keep = solved(W, H, width, counts)
    assert (~keep).nonzero().flatten().tolist() == silent.tolist()
    torch.testing.assert_close(V[:, keep], W[:, keep], rtol=1e-12, atol=1e-12)
    V, keep = solved(W, H, width, [*counts, 1, 1])
    assert not keep[silent].any()
    assert V.isfinite().all()


def test_all_inputs_silent():
    W = torch.ones(4, 8, dtype=torch.float64)
    V, keep = solved(W, torch.zeros(8, 8, dtype=torch.float64), 2, [1, 1])
    assert keep.tolist() == [False] * 4 + [True] * 4
    assert V.tolist() == [[0.0] * 4 + [1.0] * 4] * 4


# Whole models


def group_scores(model: LanguageModel, block: Block, tokens: Tokens) -> Tensor:
    """Return the estimated errors of the KV groups of a block."""
    attention = block.attention
    X = inputs(model, attention.o, tokens)
    H, width = damped(X.T @ X, 0.05), attention.group * attention.head_size
    return scores(attention.o.weight.double(), H, width)


@pytest.mark.parametrize("schedule", ["halving", "paper-code"])
@every_family
def test_every_layer_uses_inputs_of_the_pruned_model(family: str, schedule: Any):
    dense, tokens = tiny_model(family, blocks=3), random_tokens()
    pruned, byhand = copy.deepcopy(dense), copy.deepcopy(dense)
    method = SlimGPT(sparsity=0.4, schedule=schedule, damping=0.05)
    of_groups = [group_scores(dense, block, tokens) for block in dense.blocks]
    lost = method.widths(dense, ratios(0.4, 0.1, 3), {"kv-groups": of_groups})
    outcome = method.apply(pruned, tokens)
    for block, (groups, channels) in zip(byhand.blocks, lost, strict=True):
        attention, feed_forward = block.attention, block.feed_forward
        for role, width, counts, keep in (
            ("o", attention.group * attention.head_size, [1] * groups, keep_kv_groups),
            ("down", 1, group_sizes(channels, schedule), keep_channels),
        ):
            if counts:  # on the model as pruned so far, attention before MLP
                linear = block.linears()[role]
                X = inputs(byhand, linear, tokens)
                V, kept = solved(linear.weight.double(), X.T @ X, width, counts, 0.05)
                linear.weight.copy_(V)
                keep(attention if role == "o" else feed_forward, kept.view(-1, width)[:, 0])
    for block, expected in zip(pruned.blocks, byhand.blocks, strict=True):
        for role, linear in block.linears().items():
            theirs = expected.linears()[role].weight
            torch.testing.assert_close(linear.weight, theirs, rtol=1e-3, atol=1e-4)
    assert outcome.details == {
        "kv_groups": [block.attention.kv_heads for block in byhand.blocks],
        "channels": [block.feed_forward.channels for block in byhand.blocks],
    }


def test_without_correction_no_remaining_weight_changes():
    model = tiny_model()
    dense = copy.deepcopy(model)
    SlimGPT(sparsity=0.4, compensate=False).apply(model, random_tokens())
    for block, was in zip(model.blocks, dense.blocks, strict=True):
        left = rows_left(block.feed_forward.up, was.feed_forward.up)
        assert 0 < len(left) < 48
        expected = was.feed_forward.down.weight[:, left]
        assert torch.equal(block.feed_forward.down.weight, expected)


def test_a_channel_that_is_always_zero_is_removed_first():
    model = tiny_model()
    feed_forward = model.blocks[0].feed_forward
    feed_forward.gate.weight[5] = 0
    feed_forward.down.weight[:, 5] = 100
    row = feed_forward.up.weight[5].clone()
    SlimGPT(sparsity=0.2).apply(model, random_tokens())
    assert not any(map(row.equal, model.blocks[0].feed_forward.up.weight))


def test_first_ratio_of_1_prunes_all_blocks_equally():
    model = tiny_model(blocks=4)
    channels = SlimGPT(sparsity=0.5, first=1).apply(model, random_tokens()).details["channels"]
    assert channels == [24] * 4


@pytest.mark.model
def test_on_real_blocks_correction_helps(first_blocks):
    ours = first_blocks.error("slimgpt", sparsity=0.3)
    assert ours < 0.8 * first_blocks.error("slimgpt", sparsity=0.3, compensate=False)
