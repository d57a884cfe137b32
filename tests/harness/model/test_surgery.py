"""Surgery on all families: removing units and blocks, and adding biases."""

import copy
import inspect

import pytest
import torch
from torch import nn
from transformers import DynamicCache

from implementations.harness.contract.tiny import MODEL_TYPES, random_tokens, tiny_model
from implementations.harness.errors import BadInput, NumericsError
from implementations.harness.model.modeling_pruned import Headless
from implementations.harness.model.surgery import (
    add_bias,
    chosen,
    keep_channels,
    keep_kv_groups,
    keep_units,
    remove_blocks,
    remove_units,
)
from implementations.harness.model.view import LanguageModel
from tests.masking import mask_units

FAMILIES = list(MODEL_TYPES)
IDS = random_tokens(2, 20, seed=7).ids


def logits(model, ids=IDS):
    with torch.no_grad():
        return model.hf(ids, use_cache=False).logits


def continued(model, *, cache, count=16, ids=IDS, **options):
    return model.hf.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=count,
        min_new_tokens=count,
        do_sample=False,
        use_cache=cache,
        **options,
    )


def twin(model):
    return LanguageModel(copy.deepcopy(model.hf), name=model.name)


def bypass(layer):
    """Make a block return its input, as a tensor or a tuple, depending on the release."""
    forward = layer.forward

    def passing_on(hidden_states, *args, **kwargs):
        output = forward(hidden_states, *args, **kwargs)
        return (hidden_states, *output[1:]) if isinstance(output, tuple) else hidden_states

    layer.forward = passing_on


def grouped(family, **overrides):
    """Return a model with several KV groups."""
    if family == "qwen3":
        overrides.setdefault("num_key_value_heads", 2)
    return tiny_model(family, **overrides)


def irregular(family):
    """Return a model of four different blocks: one without heads, one without channels."""
    model = grouped(family, blocks=4)
    first, second, third, fourth = model.blocks
    keep_kv_groups(first.attention, [])
    add_bias(first.attention.o, torch.linspace(-1, 1, 32))
    keep_channels(first.feed_forward, range(0, 48, 5))
    keep_kv_groups(second.attention, [1])
    keep_channels(third.feed_forward, [])
    add_bias(third.feed_forward.down, torch.linspace(1, -1, 32))
    keep_channels(fourth.feed_forward, torch.arange(48) % 3 == 0)
    return model


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("keep", [[1], [0], [], [0, 1]])
def test_removing_sublayers_removes_their_output_bias(family, keep):
    sliced = grouped(family)
    for linear in (sliced.blocks[1].attention.o, sliced.blocks[1].feed_forward.down):
        add_bias(linear, torch.linspace(-1, 1, 32))
    masked = twin(sliced)
    keep_units(sliced.blocks[1], "sublayers", keep)
    mask_units(masked.blocks[1], "sublayers", keep)
    torch.testing.assert_close(logits(sliced), logits(masked))
    block = sliced.blocks[1]
    assert [block.attention.kv_heads > 0, block.feed_forward.channels > 0] == [
        unit in keep for unit in (0, 1)
    ]
    if not keep:
        seen = {}
        block.module.register_forward_hook(lambda _, args, y: seen.update(x=args[0], y=y))
        logits(sliced)
        assert torch.equal(seen["x"], seen["y"])


@pytest.mark.parametrize("family", FAMILIES)
def test_attention_without_heads_outputs_its_bias(family):
    model = tiny_model(family)
    attention = model.blocks[0].attention
    keep_kv_groups(attention, [])
    assert (attention.heads, attention.kv_heads, attention.group) == (0, 0, 0)
    bias = torch.zeros(32) if attention.o.bias is None else attention.o.bias.detach().clone()
    x = torch.randn(2, 5, 32)
    assert torch.equal(attention.module(x)[0], bias.expand(2, 5, 32))
    add_bias(attention.o, torch.ones(32))
    assert torch.equal(attention.module(x)[0], (bias + 1).expand(2, 5, 32))
    keep_kv_groups(attention, [])  # repeating it changes nothing
    assert isinstance(attention.module, Headless)
    assert all(model.blocks[0].norms.values()), "the norms inside the attention still exist"


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("where", [[0], [1]])
def test_text_in_two_pieces_gives_the_same_logits(family, where):
    """Positions and mask of the second piece must include the first."""
    model = tiny_model(family)
    for index in where:
        keep_kv_groups(model.blocks[index].attention, [])
    named = inspect.signature(model.hf.forward).parameters
    cache = {"cache" if "cache" in named else "past_key_values": DynamicCache(config=model.config)}
    with torch.no_grad():
        pieces = [model.hf(ids, **cache).logits for ids in (IDS[:, :13], IDS[:, 13:])]
    torch.testing.assert_close(torch.cat(pieces, dim=1), logits(model))


@pytest.mark.parametrize("family", FAMILIES)
def test_generates_without_any_attention(family):
    model = tiny_model(family)
    for block in model.blocks:
        keep_kv_groups(block.attention, [])
    assert torch.equal(continued(model, cache=True), continued(model, cache=False))


@pytest.mark.parametrize("family", FAMILIES)
def test_uneven_blocks_generate_the_same_with_every_cache(family):
    model = irregular(family)
    without = continued(model, cache=False)
    assert torch.equal(continued(model, cache=True), without)
    static = continued(model, cache=True, cache_implementation="static")
    assert torch.equal(static, without)


@pytest.mark.parametrize("family", FAMILIES)
def test_padded_prompts_have_correct_positions(family):
    """With left padding, positions depend on the attention mask and the cache."""
    model = irregular(family)
    prompt = IDS[:1, :9]
    padded = torch.cat([torch.zeros(1, 4, dtype=torch.int64), prompt], dim=1)
    mask = (torch.arange(13) >= 4).long()[None]
    padded = model.hf.generate(
        padded, attention_mask=mask, max_new_tokens=8, min_new_tokens=8, do_sample=False
    )
    alone = continued(model, cache=True, count=8, ids=prompt)
    assert torch.equal(padded[:, 4:], alone)


@pytest.mark.parametrize("family", FAMILIES)
def test_remove_units_of_the_whole_model(family):
    model, expected = grouped(family), grouped(family)
    units = [(b.attention.kv_heads, b.feed_forward.channels) for b in model.blocks]
    mask = torch.zeros(sum(map(sum, units)), dtype=torch.bool)
    second = sum(units[0])
    mask[[1, units[0][0] + 3, second, second + units[1][0], second + units[1][0] + 7]] = True
    left = remove_units(model, mask)
    for block, group, channels in zip(expected.blocks, (1, 0), ([3], [0, 7]), strict=False):
        keep_kv_groups(block.attention, [g for g in range(block.attention.kv_heads) if g != group])
        keep = [c for c in range(block.feed_forward.channels) if c not in channels]
        keep_channels(block.feed_forward, keep)
    assert torch.equal(logits(model), logits(expected))
    assert left == {
        "kv_groups": [block.attention.kv_heads for block in expected.blocks],
        "channels": [block.feed_forward.channels for block in expected.blocks],
    }


def test_remove_units_refuses_mask_of_another_model():
    model = tiny_model()
    with pytest.raises(BadInput, match=r"one entry for each of .* units, got shape \[99\]"):
        remove_units(model, torch.ones(99, dtype=torch.bool))
    assert [block.feed_forward.channels for block in model.blocks] == [48, 48]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("removed", [[0], [1, 2], [3]])
def test_removing_blocks_equals_bypassing_them(family, removed):
    shorter = tiny_model(family, blocks=4)
    bypassed = twin(shorter)
    for index in removed:
        bypass(bypassed.blocks[index].module)
    remove_blocks(shorter, removed)
    assert torch.equal(logits(shorter), logits(bypassed))
    assert [block.module.self_attn.layer_idx for block in shorter.blocks] == list(
        range(4 - len(removed))
    )
    assert shorter.config.num_hidden_layers == len(shorter.blocks) == 4 - len(removed)
    assert torch.equal(continued(shorter, cache=True), continued(shorter, cache=False))


def test_remaining_blocks_keep_their_type_of_attention():
    model = tiny_model("gemma3", blocks=4)
    kinds = list(model.config.layer_types)
    assert kinds[0] == "sliding_attention"
    assert kinds[1] == "full_attention"
    remove_blocks(model, torch.tensor([True, False, False, False]))
    assert model.config.layer_types == kinds[1:]
    windows = [block.module.self_attn.sliding_window for block in model.blocks]
    assert windows == [None, 8, None]
    long = random_tokens(1, 40, seed=3).ids  # longer than the window of 8
    assert torch.equal(
        continued(model, cache=True, ids=long), continued(model, cache=False, ids=long)
    )


def test_remaining_blocks_of_qwen_keep_their_sliding_windows():
    model = tiny_model(
        "qwen2", blocks=3, use_sliding_window=True, sliding_window=8, max_window_layers=1
    )
    assert model.config.layer_types == ["full_attention", "sliding_attention", "sliding_attention"]
    remove_blocks(model, [1])
    assert model.config.layer_types == ["full_attention", "sliding_attention"]
    assert torch.equal(continued(model, cache=True), continued(model, cache=False))


@pytest.mark.parametrize("family", FAMILIES)
def test_keeps_dtype_and_identity_of_parameters(family):
    model = grouped(family, dtype=torch.bfloat16)
    frozen = model.blocks[0].attention.q.weight
    frozen.requires_grad_(False)
    before = dict(model.hf.named_parameters())
    keep_kv_groups(model.blocks[0].attention, [0])
    keep_kv_groups(model.blocks[1].attention, [])
    keep_channels(model.blocks[1].feed_forward, [1, 2])
    after = dict(model.hf.named_parameters())
    assert all(after[name] is parameter for name, parameter in before.items())
    assert {p.dtype for p in after.values()} == {torch.bfloat16}
    assert not frozen.requires_grad
    assert model.blocks[0].attention.k.weight.requires_grad
    add_bias(model.blocks[0].feed_forward.down, torch.ones(32, dtype=torch.float64))
    assert model.blocks[0].feed_forward.down.bias.dtype == torch.bfloat16
    assert bool(logits(model).isfinite().all())
    assert not model.hf.training


@pytest.mark.parametrize("family", ["llama", "gemma3", "opt"])
def test_keeps_embedding_and_head_tied(family):
    model = tiny_model(family, blocks=3)
    embedding = model.hf.get_input_embeddings().weight
    keep_kv_groups(model.blocks[0].attention, [])
    keep_channels(model.blocks[0].feed_forward, [0])
    remove_blocks(model, [1])
    assert model.hf.get_output_embeddings().weight is embedding


def test_releases_old_weights():
    model = tiny_model()
    keep_channels(model.blocks[0].feed_forward, range(5))
    for linear in model.blocks[0].linears().values():
        assert linear.weight.untyped_storage().nbytes() == linear.weight.nbytes
        assert linear.weight.is_contiguous()


def test_gradients_flow_through_remaining_weights():
    model = irregular("llama")
    model.hf(IDS).logits.square().mean().backward()
    gradients = [p.grad for _, _, linear in model.linears() for p in [linear.weight] if p.numel()]
    assert all(g is None or bool(g.isfinite().all()) for g in gradients)
    assert model.blocks[1].attention.q.weight.grad.abs().sum() > 0
    keep_channels(model.blocks[1].feed_forward, [0, 1])
    assert model.blocks[1].feed_forward.up.weight.grad is None, "it would have the old shape"


def test_add_bias_creates_or_changes_a_bias():
    linear = nn.Linear(3, 2, bias=False)
    linear.weight.requires_grad_(False)
    add_bias(linear, torch.tensor([1.0, -2.0]))
    assert torch.equal(linear.bias, torch.tensor([1.0, -2.0]))
    assert not linear.bias.requires_grad
    add_bias(linear, torch.tensor([0.5, 0.5], dtype=torch.float64))
    assert torch.equal(linear.bias, torch.tensor([1.5, -1.5]))
    assert linear.bias.dtype == torch.float32


def test_add_bias_rounds_only_the_sum():
    linear = nn.Linear(2, 1).to(torch.bfloat16)
    linear.bias.data.fill_(1.0)
    add_bias(linear, torch.tensor([0.00391]))  # rounded to bf16 first, it would be lost
    assert linear.bias.item() == 1.0078125


def test_add_bias_refuses_wrong_shape_and_nan():
    linear = nn.Linear(3, 2)
    with pytest.raises(BadInput, match=r"one entry per row of Linear.*got shape \[3\]"):
        add_bias(linear, torch.zeros(3))
    with pytest.raises(NumericsError, match="NaN or infinity"):
        add_bias(linear, torch.tensor([0.0, float("nan")]))


@pytest.mark.parametrize(
    ("units", "message"),
    [
        ([0, 4], "there is no thing 4; there are 4, counted from 0"),
        ([-1], "there is no thing -1"),
        ([2, 1, 2], "thing 2 is listed twice"),
        (torch.ones(3, dtype=torch.bool), r"entry for each of 4 things, got shape \[3\]"),
        ([True, False], r"entry for each of 4 things, got shape \[2\]"),
        ([0.5], "a list of indices or a boolean mask"),
        (torch.zeros(1, 1, dtype=torch.int64), "a list of indices or a boolean mask"),
    ],
)
def test_chosen_refuses_units_that_do_not_exist(units, message):
    with pytest.raises(BadInput, match=message):
        chosen(units, 4, "thing")


@pytest.mark.parametrize(
    "units", [[3, 1], (1, 3), range(1, 4, 2), [False, True, False, True], torch.tensor([3, 1])]
)
def test_chosen_accepts_indices_and_masks(units):
    assert chosen(units, 4, "thing").tolist() == [1, 3]


def test_refused_surgery_does_not_change_the_model():
    model = tiny_model()
    before = copy.deepcopy(model.hf.state_dict())
    with pytest.raises(BadInput, match="there is no KV group 2"):
        keep_kv_groups(model.blocks[0].attention, [0, 2])
    with pytest.raises(BadInput, match="there is no channel 48"):
        keep_channels(model.blocks[0].feed_forward, [48])
    with pytest.raises(BadInput, match="there is no block 2"):
        remove_blocks(model, [2])
    with pytest.raises(BadInput, match="would empty the model"):
        remove_blocks(model, [0, 1])
    after = model.hf.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_refuses_to_remove_the_last_block_with_weights():
    model = tiny_model()
    keep_kv_groups(model.blocks[0].attention, [])
    keep_channels(model.blocks[0].feed_forward, [])
    with pytest.raises(BadInput, match="would empty the model"):
        remove_blocks(model, [1])
    assert len(model.blocks) == 2
    remove_blocks(model, [0])
    assert len(model.blocks) == 1
