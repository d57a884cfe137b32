"""2SSP: the split on known models, both stages, a real model."""

from __future__ import annotations

import copy
import functools
from contextlib import nullcontext

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from implementations.harness import (
    AtlasWarning,
    BadInput,
    LanguageModel,
    NumericsError,
    Tokens,
    perplexity,
)
from implementations.harness.contract.helpers import logits
from implementations.harness.contract.pruned_model import rows_left
from implementations.harness.contract.tiny import MODEL_TYPES, random_tokens, tiny_model
from implementations.harness.prune import search
from implementations.twossp import TwoSSP, twossp
from implementations.twossp.twossp import Sizes, attentions_to_drop, least_missed
from tests.masking import mask_units
from tests.observation import inputs

pytestmark = pytest.mark.usefixtures("without_gradients")

every_family = pytest.mark.parametrize("family", list(MODEL_TYPES))


def silence(model: LanguageModel, *blocks: int) -> None:
    """Zero the output of an attention."""
    for index in blocks:
        for parameter in model.blocks[index].attention.o.parameters():
            parameter.zero_()


def silent(model: LanguageModel, tokens: Tokens) -> list[bool]:
    """Return the attentions with zero output."""
    off: list[bool] = []
    hooks = [
        block.attention.module.register_forward_hook(lambda *args: off.append(not args[2][0].any()))
        for block in model.blocks
    ]
    logits(model, tokens)
    for hook in hooks:
        hook.remove()
    return list(map(bool, off))


def kept(model: LanguageModel, dense: LanguageModel) -> list[list[int]]:
    """Return the remaining channels of each block."""
    pairs = zip(model.blocks, dense.blocks, strict=True)
    return [rows_left(a.feed_forward.up, b.feed_forward.up).tolist() for a, b in pairs]


# The split

# hidden, channels, heads, kv heads, blocks; share, attentions, channels kept: computed from the
# official rule, which counts norms as well.
SMOLLM2 = (576, 1536, 9, 3, 30)
LLAMA2 = (4096, 11008, 32, 32, 32)
LLAMA3 = (4096, 14336, 32, 8, 32)


@functools.cache
def shaped(shape: tuple[int, ...]) -> LanguageModel:
    """Return a model on the meta device."""
    hidden, inner, heads, kv_heads, blocks = shape
    config = LlamaConfig(
        hidden_size=hidden,
        intermediate_size=inner,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        num_hidden_layers=blocks,
        vocab_size=8,
    )
    with torch.device("meta"):
        return LanguageModel(LlamaForCausalLM(config))


@pytest.mark.parametrize(
    ("shape", "share", "attentions", "channels"),
    [
        (SMOLLM2, 0.25, 2, 1058),
        (SMOLLM2, 0.375, 4, 836),
        (SMOLLM2, 0.5, 8, 648),
        (LLAMA2, 0.25, 5, 7744),
        (LLAMA2, 0.375, 9, 6368),
        (LLAMA2, 0.5, 13, 4992),
        (LLAMA3, 0.25, 1, 10005),
        (LLAMA3, 0.375, 2, 7893),
        (LLAMA3, 0.5, 5, 5994),
    ],
)
def test_the_split_of_known_models(shape, share, attentions, channels):
    dropped, rate = TwoSSP(sparsity=share).split(shaped(shape))
    assert dropped == attentions
    assert abs(round(shape[1] * (1 - rate)) - channels) <= 1  # norms are a sixth of a channel


def test_attentions_by_hand():
    sizes = Sizes(blocks=30, attention=1.0, feed_forward=3.0)
    assert attentions_to_drop(0.5, sizes, 1.5) == round(30 * 0.25)
    assert attentions_to_drop(0.5, sizes, 3) == 15
    assert attentions_to_drop(0, sizes, 1.5) == 0
    assert attentions_to_drop(1, sizes, 1.5) == 30
    assert attentions_to_drop(0.5, sizes, 0) == 0


def test_a_split_that_cannot_meet_the_budget_is_refused():
    model = tiny_model("llama", blocks=4)
    for settings, message in (
        (
            {"sparsity": 0.1, "attentions": 4},
            "`sparsity` 0.1 cannot be met: 4 of 4 attentions are 0.4",
        ),
        ({"sparsity": 0.8, "attentions": 0}, "all channels 0.6.*set `attentions`"),
        ({"attentions": 5}, "`attentions` must be between 0 and 4, got 5"),
        ({"attentions": -1}, "`attentions` must be between 0 and 4, got -1"),
    ):
        with pytest.raises(BadInput, match=message):
            TwoSSP(**settings).check(model, random_tokens())  # before any work


def test_a_split_may_miss_the_budget_by_half_of_the_largest_unit():
    model = tiny_model("llama", blocks=4)
    sizes = twossp.sizes_of(model)
    half = sizes.attention / 2 / sizes.all
    for attentions, rate, share, side in (
        (2, 0, 2 * sizes.attention / sizes.all, -1),  # attentions alone are more than the budget
        (0, 1, 4 * sizes.feed_forward / sizes.all, 1),  # all channels are less
    ):
        split = TwoSSP(sparsity=share + side * 0.99 * half, attentions=attentions).split(model)
        assert split == (attentions, rate)
        with pytest.raises(BadInput, match="cannot be met"):
            TwoSSP(sparsity=share + side * 1.01 * half, attentions=attentions).split(model)


# Channels


@pytest.mark.parametrize("family", ["llama", "opt"])
def test_removes_channels_by_mean_norms_on_the_dense_model(family: str):
    model, tokens = tiny_model(family, blocks=3), random_tokens()
    dense = copy.deepcopy(model)
    TwoSSP(sparsity=0.4).apply(model, tokens)
    for block, left in zip(dense.blocks, kept(model, dense), strict=True):
        x = inputs(dense, block.feed_forward.down, tokens).view(*tokens.ids.shape, -1)
        scores = x.norm(dim=1).mean(dim=0)  # over tokens, then samples
        assert left == sorted(scores.argsort(descending=True)[: len(left)].tolist())


# Attentions


@every_family
def test_removes_attentions_with_least_effect_on_perplexity(family: str):
    model, tokens = tiny_model(family, blocks=4), random_tokens()
    dense = copy.deepcopy(model)
    outcome = TwoSSP(sparsity=0.5, attentions=2).apply(model, tokens)
    narrow = copy.deepcopy(dense)
    for block, left in zip(narrow.blocks, kept(model, dense), strict=True):
        mask_units(block, "channels", left)
    probe = Tokens.from_ids(tokens.ids[:1])
    removed: list[int] = []
    for _ in range(2):
        tried = {}
        for index in {0, 1, 2, 3} - set(removed):
            candidate = copy.deepcopy(narrow)
            silence(candidate, *removed, index)
            tried[index] = perplexity(candidate, probe).value
        removed.append(min(tried, key=tried.__getitem__))
    assert outcome.details["attentions_dropped"] == removed
    silence(narrow, *removed)
    for index in range(4):
        assert (model.blocks[index].attention.heads == 0) is (index in removed)
    other = random_tokens(seed=1)
    torch.testing.assert_close(logits(model, other), logits(narrow, other), rtol=1e-4, atol=1e-4)


def test_greedy_search_tries_each_remaining_attention(monkeypatch):
    model, asked = tiny_model("llama", blocks=5), []
    costs = torch.tensor([5.0, 1.0, 4.0, 2.0, 3.0])
    widths, calibration = set(), random_tokens()

    def additive(model: LanguageModel, tokens: Tokens) -> object:
        assert torch.equal(tokens.ids, calibration.ids[:2])
        off = silent(model, tokens)
        asked.append(off)
        widths.update(block.feed_forward.channels for block in model.blocks)
        return type("P", (), {"value": 1 + float(costs[torch.tensor(off)].sum())})()

    monkeypatch.setattr(twossp, "perplexity", additive)
    # Whole evaluations, so that `silent` sees all blocks.
    monkeypatch.setattr(search, "prefixes", lambda *_: ((b, nullcontext) for b in model.blocks))
    outcome = TwoSSP(sparsity=0.4, attentions=3, probes=2).apply(model, calibration)
    assert outcome.details["attentions_dropped"] == [1, 3, 4]
    assert len(asked) == 5 + 4 + 3
    assert max(widths) < 48  # measured on the narrow model


def test_ties_go_to_the_earlier_and_broken_models_are_reported(monkeypatch):
    model, tokens = tiny_model("llama", blocks=3), random_tokens()
    silence(model, 0, 1, 2)  # whichever goes, nothing changes
    assert least_missed(model, [0, 1, 2], tokens) == 0

    def broken(model: LanguageModel, tokens: Tokens) -> None:
        raise NumericsError("the logits contain NaN")

    monkeypatch.setattr(twossp, "perplexity", broken)
    with pytest.warns(AtlasWarning, match="dropping that of block 1"):
        assert least_missed(model, [1, 2], tokens) == 1


def test_first_stage_is_independent_of_the_second():
    dense = tiny_model("llama", blocks=4)
    left = []
    for attentions in (0, 2):
        model = copy.deepcopy(dense)
        sizes = twossp.sizes_of(model)
        # 10.3 of the 48 channels of each of 4 blocks, and the attentions.
        share = (4 * 10.3 / 48 * sizes.feed_forward + attentions * sizes.attention) / sizes.all
        TwoSSP(sparsity=share, attentions=attentions).apply(model, random_tokens())
        left.append(kept(model, dense))
    assert left[0] == left[1]
    assert [len(channels) for channels in left[0]] == [38] * 4  # round(48 - 10.3)


@pytest.mark.model
def test_on_real_blocks_the_first_attention_matters_most(four_blocks):
    model = four_blocks.pruned("twossp", sparsity=0.2, attentions=1)
    assert [block.attention.heads == 0 for block in model.blocks].count(True) == 1
    assert model.blocks[0].attention.heads == 9


def test_samples_without_a_perplexity_are_refused_before_the_model_changes():
    model = tiny_model(blocks=4)
    shapes = [parameter.shape for parameter in model.hf.parameters()]
    with pytest.raises(BadInput, match="at least 2 tokens"):
        TwoSSP(sparsity=0.5).apply(model, random_tokens(length=1))
    assert [parameter.shape for parameter in model.hf.parameters()] == shapes
