"""CFSP: shares and scores by hand, activations of the model, whole models."""

from __future__ import annotations

import copy
import itertools
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from implementations.cfsp import CFSP
from implementations.cfsp.cfsp import kept_shares, relative_activation
from implementations.harness import BadInput, Block, NumericsError, keep_channels
from implementations.harness.contract.helpers import logits
from implementations.harness.contract.tiny import MODEL_TYPES, random_tokens, tiny_model
from implementations.harness.model.units import count_weights
from tests.observation import inputs

pytestmark = pytest.mark.usefixtures("without_gradients")

every_family = pytest.mark.parametrize("family", list(MODEL_TYPES))
either_score = pytest.mark.parametrize("score", ["paper", "official"])


def doubles(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def top(scores: Tensor, count: int) -> list[int]:
    """List the `count` channels of highest score, ascending."""
    return sorted(scores.topk(count).indices.tolist())


def kept(pruned: Block, dense: Block) -> list[int]:
    """Return the channels of the dense block that remain, identified by their rows of `up`."""
    small, large = (block.feed_forward.up.weight for block in (pruned, dense))
    return [int((large == row).all(dim=1).nonzero()) for row in small]


# Shares of blocks


@pytest.mark.parametrize("rate", [0.2, 0.3, 0.5])
def test_shares_of_two_blocks_by_hand(rate: float):
    # Half of the difference is z = 13.1072 * 0.02, and sigmoid(z) / (1/2) = 1 + tanh(z / 2).
    tilt = math.tanh(13.1072 * 0.02 / 2)
    shares = kept_shares(doubles(0.05, 0.09), rate)
    assert shares.tolist() == pytest.approx([(1 - rate) * (1 - tilt), (1 - rate) * (1 + tilt)])


@given(
    angles=st.lists(st.floats(0, 1), min_size=1, max_size=40),
    rate=st.floats(0, 0.99),
    steepness=st.floats(0, 50),
)
def test_shares_have_the_right_mean_and_follow_the_angles(angles, rate, steepness):
    shares = kept_shares(doubles(*angles), rate, steepness)
    assert float(shares.mean()) == pytest.approx(1 - rate, abs=1e-9)
    assert float(shares.max()) <= 1 + 1e-12
    assert float(shares.min()) >= -1e-12
    order = doubles(*angles).argsort()
    assert bool((shares[order].diff() >= -1e-9).all())


@pytest.mark.parametrize("rate", [0.05, 0.2, 0.5])
def test_no_block_keeps_all_channels(rate: float):
    # One block far above the others would keep several times its channels.
    shares = kept_shares(doubles(1.0, *[0.0] * 9), rate)
    assert float(shares.mean()) == pytest.approx(1 - rate)
    assert float(shares.max()) == pytest.approx(1 - rate * (1 - 1 / 1.05))
    assert shares[1:].unique().numel() == 1


@pytest.mark.parametrize(
    "shares",
    [kept_shares(doubles(*[0.1] * 7), 0.3), kept_shares(doubles(0.1, 0.2, 0.9), 0.3, steepness=0)],
)
def test_equal_angles_or_steepness_zero_give_equal_shares(shares: Tensor):
    assert shares.tolist() == pytest.approx([0.7] * len(shares))


# Scores of channels


def test_relative_activation_by_hand():
    W = torch.tensor([[1.0, -2.0], [3.0, 0.0]])
    # Weighed by the norms: rows (2, 2) and (6, 0).
    assert relative_activation(W, torch.tensor([2.0, 1.0])).tolist() == [1.5, 0.5]


def test_output_without_input_does_not_count():
    W = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    assert relative_activation(W, torch.tensor([3.0, 1.0])).tolist() == [0.75, 0.25]
    assert relative_activation(W, torch.zeros(2)).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(("family", "rows"), [("llama", 2), ("opt", 1)])
def test_scores_by_hand(family: str, rows: int):
    block = tiny_model(family, hidden_size=4, intermediate_size=2, head_dim=1).blocks[0]
    block.feed_forward.down.weight.data = torch.tensor([[1.0, 2.0]] * 4)
    norms = torch.tensor([4.0, 1.0])  # shares 4/6 and 2/6 of each of four outputs
    paper = [(8 / 3 + rows) * 4, 4 / 3 + rows]  # up, and gate where there is one, add 1 each
    assert CFSP().rank(block, norms).tolist() == pytest.approx(paper)
    assert CFSP(score="official").rank(block, norms).tolist() == norms.tolist()
    squared = [(32 / 9 + rows) * 2, 4 / 9 + rows]  # shares 16/18 and 2/18, norms to the half
    other = CFSP(share_exponent=2, norm_exponent=0.5)
    assert other.rank(block, norms).tolist() == pytest.approx(squared)


# Activations of the model


@every_family
def test_angles_are_those_of_the_models_hidden_states(family: str):
    model, tokens = tiny_model(family, blocks=4), random_tokens()
    last: list[Tensor] = []
    handle = model.layers[-1].register_forward_hook(lambda _, args, out: last.append(out))
    output = model.hf(input_ids=tokens.ids, use_cache=False, output_hidden_states=True)
    handle.remove()
    states = [*output.hidden_states[:-1], last[0]]  # a norm was already applied to the last one
    by_hand = [
        float(torch.arccos(torch.cosine_similarity(x.double(), y.double(), dim=-1)).mean())
        for x, y in itertools.pairwise(states)
    ]
    angles = CFSP(sparsity=0.1).apply(model, tokens).details["angles"]
    assert angles == pytest.approx([angle / math.pi for angle in by_hand], abs=1e-6)


@every_family
@either_score
def test_keeps_the_highest_scores_of_the_dense_model(family: str, score: Any):
    dense, tokens = tiny_model(family, blocks=3), random_tokens()
    pruned = copy.deepcopy(dense)
    outcome = CFSP(sparsity=0.3, score=score, multiple=1).apply(pruned, tokens)
    for block, count in zip(dense.blocks, outcome.details["channels"], strict=True):
        norm = inputs(dense, block.feed_forward.down, tokens).norm(dim=0)
        if score == "paper":
            W = block.feed_forward.down.weight.double().abs()  # [out, in]
            shares = (W * norm / (W @ norm)[:, None]).sum(dim=0)
            norm = norm * (shares + (1 if family == "opt" else 2))
        assert kept(pruned.blocks[block.index], block) == top(norm, count)


def test_of_equal_scores_the_first_are_kept(monkeypatch):
    dense = tiny_model()
    pruned = copy.deepcopy(dense)
    scores = torch.ones(48)
    scores[40] = 2
    monkeypatch.setattr(CFSP, "rank", lambda *_: scores)
    CFSP(sparsity=0.3, steepness=0, multiple=1).apply(pruned, random_tokens())
    for small, large in zip(pruned.blocks, dense.blocks, strict=True):
        assert kept(small, large) == [*range(23), 40]


def test_refuses_scores_that_are_not_numbers(monkeypatch):
    scores = torch.ones(48)
    scores[5] = torch.nan
    monkeypatch.setattr(CFSP, "rank", lambda *_: scores)
    with pytest.raises(NumericsError, match="NaN"):
        CFSP(sparsity=0.3, steepness=0, multiple=1).apply(tiny_model(), random_tokens())


# Widths


@pytest.mark.parametrize("family", ["llama", "opt"])  # with and without a gate
@pytest.mark.parametrize("multiple", [1, 16, 32])
@pytest.mark.parametrize("rate", [0.2, 0.8])
def test_widths_are_multiples_and_the_budget_is_met(family: str, multiple: int, rate: float):
    model = tiny_model(family, blocks=5, intermediate_size=192)
    dense = count_weights(model).all
    channel = 96 if model.blocks[0].feed_forward.gate is not None else 64  # weights of one
    share = rate * 5 * 192 * channel / dense
    method = CFSP(sparsity=share, multiple=multiple)
    assert method.rate(model) == pytest.approx(rate)
    assert method.largest_unit(model) == multiple * channel
    details = method.apply(model, random_tokens()).details
    widths = [block.feed_forward.channels for block in model.blocks]
    assert details["channels"] == widths
    assert all(width % multiple == 0 and multiple <= width <= 192 for width in widths)
    assert abs(sum(widths) - 5 * 192 * (1 - rate)) <= multiple / 2 + 1e-6
    wanted = [192 * keep for keep in details["keep"]]
    assert all(
        abs(width - want) <= multiple + 1e-6 or width == multiple
        for width, want in zip(widths, wanted, strict=True)
    )


@pytest.mark.parametrize(
    ("channels", "multiple"), [(1536, 32), (4096, 128), (14336, 128), (48, 16), (11, 1), (4000, 32)]
)
def test_default_multiple_depends_on_the_number_of_channels(channels: int, multiple: int):
    model = tiny_model(hidden_size=8, head_dim=2, intermediate_size=channels)
    assert CFSP().together(model) == multiple
    assert CFSP(multiple=1).together(model) == 1


def test_steepness_0_prunes_all_blocks_equally():
    model = tiny_model(blocks=4)
    details = CFSP(sparsity=0.3, steepness=0, multiple=1).apply(model, random_tokens()).details
    assert details["channels"] == [24] * 4  # half of the channels are 30 % of the weights


def test_maximum_sparsity_leaves_one_multiple_per_block():
    model = tiny_model(blocks=3)
    limit = CFSP(multiple=16).max_sparsity(model)
    assert limit == pytest.approx(2 / 3 * 0.6)
    details = CFSP(sparsity=limit, multiple=16).apply(model, random_tokens()).details
    assert details["channels"] == [16] * 3


def test_prunes_model_with_uneven_blocks():
    model, tokens = tiny_model(blocks=4), random_tokens()
    keep_channels(model.blocks[1].feed_forward, range(20))
    keep_channels(model.blocks[3].feed_forward, [])
    dense = count_weights(model).all
    method = CFSP(sparsity=0.2)
    assert method.together(model) == 4  # divides 48 and 20
    details = method.apply(model, tokens).details
    assert details["channels"][3] == 0
    assert abs(dense - count_weights(model).all - 0.2 * dense) <= 4 * 96 / 2
    assert bool(logits(model).isfinite().all())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"multiple": 10}, "multiple 10 does not divide the 48 channels of block 0"),
        ({"multiple": 64}, "multiple 64 does not divide the 48 channels of block 0"),
    ],
)
def test_refuses_models_that_cannot_be_pruned(settings: dict[str, Any], message: str):
    model = tiny_model()
    with pytest.raises(BadInput, match=message):
        CFSP(**settings).check(model, random_tokens())


class ByMagnitude(CFSP):
    """Rank channels by the norm of their weights in `down`."""

    def rank(self, block: Block, norms: Tensor) -> Tensor:
        return block.feed_forward.down.weight.norm(dim=0)


@pytest.mark.model
def test_on_real_blocks_both_scores_beat_the_size_of_weights(first_blocks):
    errors = []
    for method in (CFSP(), CFSP(score="official"), ByMagnitude()):
        model = copy.deepcopy(first_blocks.dense)
        details = method.apply(model, first_blocks.calibration).details
        assert all(width % 32 == 0 for width in details["channels"])
        errors.append(float((first_blocks.run(model) - first_blocks.outputs).square().sum()))
    paper, official, magnitude = errors
    assert 0 < paper < magnitude
    assert 0 < official < magnitude
