"""Models larger than memory: equal to the model in memory, and written by blocks."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from implementations.harness import backwalk, get_method, load_model, methods, perplexity, walk
from implementations.harness.contract.helpers import (
    calibration_for,
    difference,
    fingerprint,
    logits,
    removes_experts,
    same,
    within_reach,
)
from implementations.harness.contract.tiny import MODEL_TYPES, random_tokens, tiny_model
from implementations.harness.errors import BadInput
from implementations.harness.measure.memory import footprint
from implementations.harness.model.saving import save_model
from implementations.harness.model.streaming import (
    open_streamed,
    save_streamed,
)

KINDS = ("wanda", "sparsegpt", "flap", "shortgpt", "fasp")
"""Single weights, weights updated, widths and biases, whole blocks, indexed layers."""
STREAMED = [
    slug
    for slug in methods()
    if get_method(slug).capabilities.changes == ("linears",)
    and not get_method(slug).capabilities.trains
    and not removes_experts(get_method(slug))  # mixtures cannot be streamed
]
FURTHER = [pytest.param(slug, marks=pytest.mark.full) for slug in STREAMED if slug not in KINDS]


@pytest.fixture
def folder(tmp_path):
    save_model(tiny_model("llama", blocks=4), tmp_path / "dense")
    return tmp_path


@pytest.fixture
def work(folder):
    """Return a folder for edited blocks."""
    (folder / "work").mkdir()
    return folder / "work"


def opened(folder, **options):
    return open_streamed(str(folder / "dense"), tokenizer=False, **options)


def prune(slug, model):
    method = get_method(slug)
    return within_reach(method, model).apply(model, calibration_for(method))


@pytest.mark.parametrize("family", MODEL_TYPES)
def test_reads_like_the_model_in_memory(tmp_path, family):
    save_model(tiny_model(family), tmp_path / "dense")
    whole, streamed = load_model(tmp_path / "dense", tokenizer=False), opened(tmp_path)
    tokens = random_tokens(3, 20, seed=1)
    assert perplexity(streamed, tokens) == perplexity(whole, tokens)
    assert same(fingerprint(streamed), fingerprint(whole))
    assert footprint(streamed) == footprint(whole)


def test_only_the_open_block_has_weights(folder):
    model = opened(folder)
    assert all(p.is_meta for p in model.layers.parameters())
    assert not any(tensor.is_meta for tensor in model.outside().values())
    for block in model.visit():
        inside = [p for p in model.layers.parameters() if not p.is_meta]
        assert {id(p) for p in inside} == {id(p) for p in block.module.parameters()}
    assert all(p.is_meta for p in model.layers.parameters())


@pytest.mark.parametrize("slug", [*KINDS, *FURTHER])
def test_equals_the_model_in_memory(folder, work, slug):
    whole = load_model(folder / "dense", tokenizer=False)
    expected = prune(slug, whole)
    model = opened(folder)
    with model.writing(work):
        outcome = prune(slug, model)
    assert same(fingerprint(whole), fingerprint(model)), difference(
        fingerprint(whole), fingerprint(model)
    )
    assert (outcome.achieved, outcome.bits) == (expected.achieved, expected.bits)
    assert outcome.details == expected.details
    save_streamed(model, folder / "pruned")
    again = load_model(folder / "pruned", tokenizer=False)
    assert torch.equal(logits(again), logits(whole))
    assert same(fingerprint(again), fingerprint(model))  # whose blocks have moved
    assert sorted(path.name for path in folder.iterdir()) == ["dense", "pruned", "work"]


def test_edits_through_data_are_kept(folder, work):
    model = opened(folder)
    with model.writing(work):
        for block in walk(model, random_tokens()):
            block.attention.q.weight.data.zero_()
    assert all(not block.attention.q.weight.any() for block in model.visit())


def test_reading_writes_nothing(folder, work):
    model = opened(folder)
    with model.writing(work):
        perplexity(model, random_tokens(2))
        fingerprint(model)
    assert list(work.iterdir()) == []


def test_saved_folder_has_one_file_per_block_and_loads_with_transformers(folder, work):
    from transformers import AutoModelForCausalLM

    model = opened(folder)
    with model.writing(work):
        prune("shortgpt", model)
    save_streamed(model, folder / "pruned")
    blocks = len(model.layers)
    names = sorted(path.name for path in (folder / "pruned").glob("*.safetensors"))
    assert names == [*(f"block-{i:05d}.safetensors" for i in range(blocks)), "outside.safetensors"]
    stock = AutoModelForCausalLM.from_pretrained(folder / "pruned")
    ids = random_tokens(2).ids
    with torch.no_grad():
        expected = load_model(folder / "pruned", tokenizer=False).hf(ids).logits
        assert torch.equal(stock(ids).logits, expected)


def test_dtype_is_converted_block_by_block(folder):
    model = opened(folder, dtype="bfloat16")
    whole = load_model(folder / "dense", dtype="bfloat16", tokenizer=False)
    assert same(fingerprint(model), fingerprint(whole))


def test_weights_with_other_names_are_refused(folder):
    file = folder / "dense" / "model.safetensors"
    weights = load_file(file)
    save_file({f"other.{name}": tensor for name, tensor in weights.items()}, file)
    with pytest.raises(BadInput, match="save it again"):
        opened(folder)


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("num_hidden_layers", 1, "are unexpected, such as model.layers.1"),
        ("intermediate_size", 8, "have another shape, such as model.layers.0.mlp.down_proj"),
        ("vocab_size", 7, "have another shape, such as model.embed_tokens"),
        ("pruned_shapes", [], "cannot be loaded"),
    ],
)
def test_weights_that_do_not_match_the_configuration_are_refused(folder, setting, value, message):
    file = folder / "dense" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {setting: value}))
    with pytest.raises(BadInput, match=message):
        opened(folder)


def test_pickles_are_refused(folder):
    file = folder / "dense" / "model.safetensors"
    torch.save(load_file(file), folder / "dense" / "pytorch_model.bin")
    file.unlink()
    with pytest.raises(BadInput, match="not in safetensors format"):
        opened(folder)


@pytest.mark.parametrize("slug", ["loraprune", "griffin"])
def test_methods_that_need_the_whole_model_are_refused(folder, slug):
    with pytest.raises(BadInput, match=f"{slug} needs the whole model.*--stream"):
        prune(slug, opened(folder))


def test_sharded_weights_are_read(folder):
    weights = load_file(folder / "dense" / "model.safetensors")
    names = sorted(weights)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for name, part in parts.items():
        save_file({key: weights[key] for key in part}, folder / "dense" / name)
    index = {"weight_map": {key: name for name, part in parts.items() for key in part}}
    (folder / "dense" / "model.safetensors.index.json").write_text(json.dumps(index))
    whole = load_model(folder / "dense", tokenizer=False)
    (folder / "dense" / "model.safetensors").unlink()
    assert same(fingerprint(opened(folder)), fingerprint(whole))


@pytest.mark.gpu
def test_gradients_on_the_accelerator_write_no_block(folder, work):
    model = opened(folder, accelerator=torch.accelerator.current_accelerator())
    with model.writing(work):
        for block in backwalk(model, random_tokens(2), gradients=("q",), edits=False):
            assert block.gradients["q"].abs().sum() > 0
    assert not list(work.iterdir())


@pytest.mark.gpu
@pytest.mark.parametrize("slug", ["wanda", "flap", "fasp"])
def test_blocks_from_disk_are_pruned_on_the_accelerator(folder, work, slug):
    whole = load_model(folder / "dense", tokenizer=False)
    prune(slug, whole)
    model = opened(folder, accelerator=torch.accelerator.current_accelerator())
    with model.writing(work):
        prune(slug, model)
    assert perplexity(model, random_tokens(2)).value == pytest.approx(
        perplexity(whole, random_tokens(2)).value, rel=1e-3
    )
    save_streamed(model, folder / "pruned")
    again = load_model(folder / "pruned", tokenizer=False)
    torch.testing.assert_close(logits(again), logits(whole), rtol=1e-2, atol=1e-2)
