"""Query heads, value dimensions and rotary pairs removed from layers that keep their width."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from transformers import AutoModelForCausalLM

from implementations.harness import (
    BadInput,
    Gram,
    LanguageModel,
    add_bias,
    get_method,
    keep_channels,
    keep_kv_groups,
    keep_units,
    remove_blocks,
    unit_costs,
    walk,
)
from implementations.harness.contract.helpers import fingerprint, logits, same
from implementations.harness.contract.pruned_model import continued
from implementations.harness.contract.tiny import MODEL_TYPES, random_tokens, tiny_model
from implementations.harness.measure.memory import footprint
from implementations.harness.model.checkpoint import load_checkpoint
from implementations.harness.model.modeling_pruned import IndexedLinear, hold, shrink
from implementations.harness.model.saving import save_model
from implementations.harness.model.units import count_weights, cuts
from tests.harness.contract.toys import First, Indexed, Narrow, Shallow
from tests.masking import mask_units

KINDS = ("query-heads", "value-dims", "rotary-pairs")
every_family = pytest.mark.parametrize("family", list(MODEL_TYPES))
every_pair = pytest.mark.parametrize(
    ("family", "kind"),
    [
        (family, kind)
        for family in MODEL_TYPES
        for kind in KINDS
        if (family, kind) != ("opt", KINDS[2])
    ],
)


def grouped(family, **shape):
    """Return a tiny model with at least two KV heads."""
    if family == "qwen3":
        shape.setdefault("num_key_value_heads", 2)
    return tiny_model(family, **shape)


def kinds_of(model):
    return [kind for kind in KINDS if model.family.rotary or kind != "rotary-pairs"]


def some(block, kind, every=3, first=0):
    """Mark all but every third unit, so that KV heads lose different units."""
    return torch.arange(len(unit_costs(block, kind))) % every != first


def riddled(family, **shape):
    """Return a model that has lost units of every kind, different ones in each block."""
    model = grouped(family, **shape)
    for block in model.blocks:
        for kind in kinds_of(model):
            keep_units(block, kind, some(block, kind, first=block.index % 3))
    return model


def twin(model):
    return LanguageModel(copy.deepcopy(model.hf), name=model.name)


def indexed(model):
    return [m for m in model.hf.modules() if isinstance(m, IndexedLinear)]


# The layer itself.

SIZES = st.tuples(st.integers(1, 6), st.integers(1, 6))


@given(data=st.data(), sizes=SIZES, bias=st.booleans())
def test_indexed_linear_equals_dense_layer_with_zeros(data, sizes, bias):
    """After any sequence of `hold` and `shrink`."""
    out, inner = sizes
    linear = nn.Linear(inner, out, bias)
    dense = copy.deepcopy(linear)
    for _ in range(data.draw(st.integers(1, 4))):
        dim = data.draw(st.integers(0, 1))
        edit = data.draw(st.sampled_from([hold, shrink]))
        width = (linear.out_features, linear.in_features)[dim]
        chosen = data.draw(st.lists(st.integers(0, width - 1), unique=True)) if width else []
        keep = torch.tensor(sorted(chosen), dtype=torch.int64)
        edit(linear, dim, keep)
        if edit is shrink:
            shrink(dense, dim, keep)
        else:
            dropped = torch.ones(width, dtype=torch.bool)
            dropped[keep] = False
            dense.weight.data.movedim(dim, 0)[dropped] = 0
            if bias and dim == 0:
                dense.bias.data[dropped] = 0
        assert (linear.out_features, linear.in_features) == tuple(dense.weight.shape)
    x = torch.randn(2, 3, linear.in_features)
    torch.testing.assert_close(linear(x), dense(x))
    assert type(linear) is (
        nn.Linear if linear.weight.shape == dense.weight.shape else IndexedLinear
    )
    if bias:
        assert len(linear.bias) == len(linear.weight)


def test_hold_keeps_parameters_and_releases_old_weights():
    linear = nn.Linear(6, 4).to(torch.bfloat16)
    weight, bias = linear.weight, linear.bias
    linear.weight.requires_grad_(False)
    hold(linear, 0, torch.tensor([3, 1]))
    hold(linear, 1, torch.tensor([0, 2, 5]))
    assert linear.weight is weight
    assert linear.bias is bias
    assert weight.dtype == bias.dtype == torch.bfloat16
    assert not weight.requires_grad
    assert weight.untyped_storage().nbytes() == weight.nbytes == 2 * 6
    assert (linear.rows.tolist(), linear.columns.tolist()) == ([1, 3], [0, 2, 5])
    assert repr(linear).endswith("in_features=6, out_features=4, bias=True, rows=2, columns=3)")


def test_gradients_flow_to_held_weights():
    linear = nn.Linear(5, 4)
    hold(linear, 0, torch.tensor([0, 2]))
    hold(linear, 1, torch.tensor([1, 4]))
    x = torch.randn(7, 5)
    linear(x).square().sum().backward()
    output = x[:, [1, 4]] @ linear.weight.T + linear.bias
    torch.testing.assert_close(linear.weight.grad, 2 * output.T @ x[:, [1, 4]])
    hold(linear, 0, torch.tensor([0]))
    assert linear.weight.grad is None, "it would have the old shape"


def test_bias_has_one_entry_per_held_row():
    linear = nn.Linear(3, 4, bias=False)
    hold(linear, 0, torch.tensor([1, 2]))
    with pytest.raises(BadInput, match=r"per row of IndexedLinear.*got shape \[4\]"):
        add_bias(linear, torch.ones(4))
    add_bias(linear, torch.tensor([1.0, -1.0]))
    assert linear(torch.zeros(3)).tolist() == [0, 1, -1, 0]


# Units.


@every_pair
def test_removing_all_units_equals_masking_them(family, kind):
    cut = grouped(family)
    masked = twin(cut)
    keep_units(cut.blocks[0], kind, [])
    mask_units(masked.blocks[0], kind, [])
    torch.testing.assert_close(logits(cut), logits(masked), rtol=1e-4, atol=1e-4)
    tokens = random_tokens(1, 6, seed=2).ids
    assert torch.equal(continued(cut, tokens, True), continued(cut, tokens, False))


@every_family
def test_removing_all_kinds_in_turn_equals_masking_them(family):
    cut = grouped(family)
    masked = twin(cut)
    for every in (3, 4):  # the second pass ignores removed units
        for block, other in zip(cut.blocks, masked.blocks, strict=True):
            for kind in kinds_of(cut):
                keep = some(block, kind, every)
                keep_units(block, kind, keep)
                mask_units(other, kind, keep)
    torch.testing.assert_close(logits(cut), logits(masked), rtol=1e-4, atol=1e-4)
    assert count_weights(cut).all == count_weights(cut).nonzero == count_weights(masked).nonzero


@every_family
@pytest.mark.parametrize("groups", [[1], [0], []])
def test_removing_groups_and_channels_after_other_units(family, groups):
    cut = riddled(family)
    masked = twin(cut)
    for block, other in zip(cut.blocks, masked.blocks, strict=True):
        mask_units(other, "kv-groups", groups)
        mask_units(other, "channels", range(0, 48, 5))
        keep_kv_groups(block.attention, groups)
        keep_channels(block.feed_forward, range(0, 48, 5))
        assert block.attention.kv_heads == len(groups)
    torch.testing.assert_close(logits(cut), logits(masked), rtol=1e-4, atol=1e-4)
    assert bool(indexed(cut)) is bool(groups)


def test_layer_without_gaps_becomes_a_plain_linear():
    model = tiny_model("llama")
    keep_units(model.blocks[0], "query-heads", [1, 2, 3])
    assert len(indexed(model)) == 2
    keep_kv_groups(model.blocks[0].attention, [1])
    assert not indexed(model)
    assert not list(model.blocks[0].attention.q.buffers())
    assert model.blocks[0].attention.q.weight.shape == (16, 32)


@every_family
def test_rows_and_columns_of_units(family):
    attention = grouped(family).blocks[0].attention
    size, group = attention.head_size, attention.group
    block = grouped(family).blocks[0]

    def of(kind, unit):
        linears = {linear: role for role, linear in block.linears().items()}
        return {linears[c.linear]: (c.dim, c.places[unit].tolist()) for c in cuts(block, kind)}

    head = list(range(3 * size, 4 * size))
    assert of("query-heads", 3) == {"q": (0, head), "o": (1, head)}
    served = range(group, 2 * group)  # the query heads of KV head 1
    assert of("value-dims", size + 2) == {
        "v": (0, [size + 2]),
        "o": (1, [h * size + 2 for h in served]),
    }
    if family != "opt":
        half = size // 2
        assert of("rotary-pairs", half + 1) == {
            "q": (0, [h * size + c for h in served for c in (1, 1 + half)]),
            "k": (0, [size + 1, size + 1 + half]),
        }


def test_refuses_rotary_pairs_of_a_family_without_them():
    block = tiny_model("opt").blocks[0]
    for action in (
        lambda: unit_costs(block, "rotary-pairs"),
        lambda: keep_units(block, "rotary-pairs", [0]),
    ):
        with pytest.raises(BadInput, match="opt has no rotary pairs: it adds positions"):
            action()


def test_refuses_units_that_do_not_exist():
    model = tiny_model("llama")
    before = fingerprint(model)
    with pytest.raises(BadInput, match="there is no query head 4; there are 4, counted from 0"):
        keep_units(model.blocks[0], "query-heads", [4])
    with pytest.raises(BadInput, match=r"entry for each of 16 value dimensions"):
        keep_units(model.blocks[0], "value-dims", torch.ones(3, dtype=torch.bool))
    with pytest.raises(BadInput, match="units inside a block: 'blocks'; use kv-groups, "):
        keep_units(model.blocks[0], "blocks", [0])
    assert same(before, fingerprint(model))


# Costs and counts.


@every_pair
def test_removing_a_unit_removes_its_cost(family, kind):
    model = riddled(family)
    block = model.blocks[0]
    for unit, cost in enumerate(unit_costs(block, kind).tolist()):
        without = copy.deepcopy(model)
        keep = [i for i in range(len(unit_costs(block, kind))) if i != unit]
        keep_units(without.blocks[0], kind, keep)
        assert count_weights(model).all - count_weights(without).all == cost
        assert int(unit_costs(without.blocks[0], kind)[unit]) == 0


@every_family
def test_costs_of_units(family):
    block = grouped(family).blocks[0]
    attention = block.attention
    size, group = attention.head_size, attention.group
    assert unit_costs(block, "query-heads").tolist() == [2 * size * 32] * attention.heads
    assert unit_costs(block, "value-dims").tolist() == [(1 + group) * 32] * size * (
        attention.kv_heads
    )
    if family == "opt":
        return
    pairs = unit_costs(block, "rotary-pairs")
    assert pairs.tolist() == [2 * (1 + group) * 32] * (size // 2 * attention.kv_heads)
    both = int(pairs.sum() + unit_costs(block, "value-dims").sum())
    assert both == int(unit_costs(block, "kv-groups").sum())


def test_footprint_counts_remaining_weights_and_indices():
    dense, model = footprint(tiny_model("llama")), tiny_model("llama")
    keep_units(model.blocks[0], "value-dims", range(6))  # 10 of 16 go: rows of v, columns of o
    found = footprint(model)
    removed = 10 * 32 + 20 * 32
    assert dense.parameters - found.parameters == dense.macs - found.macs == removed
    assert dense.bytes - found.bytes == 4 * removed - 8 * (6 + 12)


def test_refuses_to_leave_only_a_block_without_output():
    model = tiny_model("llama")
    remaining = model.blocks[1]
    keep_units(remaining, "query-heads", [])
    keep_channels(remaining.feed_forward, [])
    with pytest.raises(BadInput, match="would empty the model"):
        remove_blocks(model, [0])


# Statistics of the walk.


@every_family
def test_statistics_cover_the_held_columns(family):
    model, tokens = riddled(family), random_tokens()
    dense = riddled_by_zeros(model)
    for block, other in zip(
        walk(model, tokens, edits=False), walk(dense, tokens, edits=False), strict=True
    ):
        seen, whole = block.observe(Gram), other.observe(Gram)
        columns = block.attention.o.columns
        for role, linear in block.linears().items():
            assert seen[role].matrix.shape == (linear.weight.shape[1],) * 2
            expected = whole[role].matrix
            if role == "o":
                expected = expected[columns][:, columns]
            torch.testing.assert_close(seen[role].matrix, expected, rtol=1e-3, atol=1e-2)


def riddled_by_zeros(model):
    """Return the model with dense layers instead of indexed ones."""
    dense = twin(model)
    for linear in indexed(dense):
        weight = torch.zeros(linear.out_features, linear.in_features)
        rows = torch.arange(linear.out_features) if linear.rows is None else linear.rows
        columns = torch.arange(linear.in_features) if linear.columns is None else linear.columns
        weight[rows[:, None], columns] = linear.weight.data
        linear.weight.data = weight
        if linear.bias is not None:
            bias = torch.zeros(linear.out_features)
            bias[rows] = linear.bias.data
            linear.bias.data = bias
        linear.__class__ = nn.Linear
        del linear.rows, linear.columns
    return dense


def test_methods_that_score_whole_layers_refuse_indexed_ones():
    model = riddled("llama")
    before = fingerprint(model)
    for method in (Narrow, Indexed):
        with pytest.raises(BadInput, match="block 0, q holds only some of its rows or columns"):
            method().apply(model)
    for slug in ("teal", "wina", "cats"):
        with pytest.raises(BadInput, match=f"{slug} needs whole layers, but block 0, q holds only"):
            get_method(slug).configure().apply(model, random_tokens())
    assert same(before, fingerprint(model))
    Shallow(sparsity=0.5).apply(model)
    assert len(model.blocks) == 1
    First(sparsity=0.5).apply(model)
    assert count_weights(model).nonzero < count_weights(model).all


# Copies and checkpoints.


@every_family
def test_copies_compute_the_same(family):
    model = riddled(family)
    expected = logits(model)
    file = io.BytesIO()
    torch.save(model.hf, file)
    file.seek(0)
    for hf in (copy.deepcopy(model.hf), torch.load(file, weights_only=False)):
        again = LanguageModel(hf)
        assert torch.equal(logits(again), expected)
        keep_units(again.blocks[0], "value-dims", [0])
    assert torch.equal(logits(model), expected)


@every_family
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_reloads_exactly_with_and_without_this_package(family, dtype, tmp_path):
    model = riddled(family, dtype=dtype, blocks=3)
    keep_kv_groups(model.blocks[1].attention, [1])
    keep_channels(model.blocks[2].feed_forward, range(9))
    add_bias(model.blocks[0].attention.o, torch.linspace(-1, 1, 32))
    save_model(model, tmp_path / "1")
    ours = load_checkpoint(tmp_path / "1")
    outside = AutoModelForCausalLM.from_pretrained(
        tmp_path / "1", trust_remote_code=True, dtype="auto"
    )
    outside.save_pretrained(tmp_path / "2")
    save_model(LanguageModel(outside), tmp_path / "3")
    prompts = random_tokens(2, 6, seed=2).ids
    expected, weights = logits(model), model.hf.state_dict()
    for hf in (ours, outside, load_checkpoint(tmp_path / "2"), load_checkpoint(tmp_path / "3")):
        again = LanguageModel(hf)
        assert hf.dtype == dtype
        assert torch.equal(logits(again), expected)
        assert same(hf.state_dict(), weights)
        assert {name: t.dtype for name, t in hf.state_dict().items()} == {
            name: t.dtype for name, t in weights.items()
        }
        assert count_weights(again) == count_weights(model)
        for cache in (True, False):
            continuation = continued(model, prompts, cache)
            assert torch.equal(continued(again, prompts, cache), continuation)


@every_family
def test_model_loaded_by_transformers_can_be_pruned_further(family, tmp_path):
    """Its layers have the class from the code file of the checkpoint."""
    model = riddled(family)
    save_model(model, tmp_path / "1")
    outside = LanguageModel(
        AutoModelForCausalLM.from_pretrained(tmp_path / "1", trust_remote_code=True)
    )
    for either in (model, outside):
        keep_units(either.blocks[0], "value-dims", some(either.blocks[0], "value-dims", 4, 1))
        keep_kv_groups(either.blocks[1].attention, [0])
    assert torch.equal(logits(outside), logits(model))
    save_model(outside, tmp_path / "2")
    assert torch.equal(logits(LanguageModel(load_checkpoint(tmp_path / "2"))), logits(model))


def test_model_card_lists_held_rows_and_columns(tmp_path):
    model = tiny_model("llama")
    keep_units(model.blocks[1], "query-heads", [0, 1, 2])
    save_model(model, tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "- block 1, q: 24 of 32 rows\n- block 1, o: 24 of 32 columns\n" in card
    save_model(tiny_model("llama"), tmp_path / "dense")
    assert "columns" not in (tmp_path / "dense" / "README.md").read_text()
