"""Models larger than memory: equal to the model in memory, resumable, and written by blocks."""

from __future__ import annotations

import json
from contextlib import suppress

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
from implementations.harness.model import streaming
from implementations.harness.model.saving import save_model
from implementations.harness.model.streaming import (
    StreamedModel,
    check_request,
    open_streamed,
    save_streamed,
    work_folder,
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


def opened(folder, **options):
    return open_streamed(str(folder / "dense"), tokenizer=False, **options)


def prune(slug, model):
    method = get_method(slug)
    return within_reach(method, model).apply(model, calibration_for(method))


class Killed(BaseException):
    """Simulates the end of the process."""


def kill_after(monkeypatch, blocks):
    """Let the process end when it writes another block after so many."""
    write, written = StreamedModel._write, []

    def dying(self, block, *arguments):
        if len(written) == blocks:
            raise Killed
        written.append(block.index)
        write(self, block, *arguments)

    monkeypatch.setattr(StreamedModel, "_write", dying)


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
def test_equals_the_model_in_memory_also_after_a_kill(folder, monkeypatch, slug):
    whole, work = load_model(folder / "dense", tokenizer=False), work_folder(folder / "pruned")
    expected = prune(slug, whole)
    with monkeypatch.context() as patch:
        kill_after(patch, 2)
        model = opened(folder)
        with suppress(Killed), model.writing(work):  # some methods edit no block
            prune(slug, model)
    model = opened(folder)
    with model.writing(work):
        outcome = prune(slug, model)
    assert same(fingerprint(whole), fingerprint(model)), difference(
        fingerprint(whole), fingerprint(model)
    )
    assert (outcome.achieved, outcome.bits) == (expected.achieved, expected.bits)
    assert outcome.details == expected.details
    save_streamed(model, work, folder / "pruned")
    again = load_model(folder / "pruned", tokenizer=False)
    assert torch.equal(logits(again), logits(whole))
    assert not work.exists()
    assert not list(folder.glob("*.partial"))


@pytest.mark.parametrize(
    ("slug", "settings"),
    [
        ("sobp", {"sparsity": 0.3, "reconstruct": False}),
        ("fastforward", {"sparsity": 0.3, "episodes": 4, "samples": 1}),
    ],
)
def test_blocks_keep_their_own_choices_after_a_kill(folder, monkeypatch, slug, settings):
    whole, work = load_model(folder / "dense", tokenizer=False), work_folder(folder / "pruned")
    expected = get_method(slug).configure(**settings).apply(whole, random_tokens())
    for killed in (True, False):
        with monkeypatch.context() as patch:
            if killed:
                kill_after(patch, 2)
            model = opened(folder)
            with suppress(Killed), model.writing(work):
                outcome = get_method(slug).configure(**settings).apply(model, random_tokens())
    assert same(fingerprint(whole), fingerprint(model))
    assert outcome.details == expected.details


def test_edits_through_data_are_kept(folder):
    model, work = opened(folder), work_folder(folder / "pruned")
    with model.writing(work):
        for block in walk(model, random_tokens()):
            block.attention.q.weight.data.zero_()
    assert all(not block.attention.q.weight.any() for block in model.visit())


@pytest.mark.parametrize("slug", ["wanda", "fasp"])
def test_finished_blocks_are_not_pruned_again(folder, monkeypatch, slug):
    work = work_folder(folder / "pruned")
    with monkeypatch.context() as patch:
        kill_after(patch, 3)
        model = opened(folder)
        with pytest.raises(Killed), model.writing(work):
            prune(slug, model)
    written = []
    write = StreamedModel._write

    def watching(self, block, *arguments):
        written.append(block.index)
        write(self, block, *arguments)

    monkeypatch.setattr(StreamedModel, "_write", watching)
    model = opened(folder)
    with model.writing(work):
        prune(slug, model)
    assert written == [3]


def test_run_continues_after_a_kill_while_saving(folder, monkeypatch):
    """Blocks that were not edited are then in the folder as well, without a random state."""

    def dying(*arguments):
        raise Killed

    model, work = opened(folder), work_folder(folder / "pruned")
    with model.writing(work):
        prune("wanda", model)
    expected = fingerprint(model)
    del model.finished[model.blocks[2].module]  # as if the method had not edited it
    monkeypatch.setattr(streaming, "write_beside_weights", dying)
    with pytest.raises(Killed):
        save_streamed(model, work, folder / "pruned")
    model = opened(folder)
    with model.writing(work):
        prune("wanda", model)
    assert same(fingerprint(model), expected)


def test_incomplete_file_of_a_block_is_not_finished(folder):
    work = work_folder(folder / "pruned")
    model = opened(folder)
    with model.writing(work):
        prune("wanda", model)
    expected = fingerprint(model)
    file = work / "block-00001.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    model = opened(folder)
    with model.writing(work):
        prune("wanda", model)
    assert same(fingerprint(model), expected)


def test_reading_writes_nothing(folder):
    model, work = opened(folder), folder / "work"
    with model.writing(work):
        perplexity(model, random_tokens(2))
        fingerprint(model)
    assert list(work.iterdir()) == []


def test_saved_folder_has_one_file_per_block_and_loads_with_transformers(folder):
    from transformers import AutoModelForCausalLM

    model, work = opened(folder), work_folder(folder / "pruned")
    with model.writing(work):
        prune("shortgpt", model)
    save_streamed(model, work, folder / "pruned")
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


def test_another_request_to_the_same_folder_is_refused(folder):
    work = work_folder(folder / "pruned")
    check_request(work, "another")  # which finished no block
    check_request(work, "one")
    (work / "block-00000.safetensors").touch()
    check_request(work, "one")
    with pytest.raises(BadInput, match="finished blocks of a different run"):
        check_request(work, "two")
    (work / "request.json").unlink()
    with pytest.raises(BadInput, match="finished blocks of a different run"):
        check_request(work, "one")


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
def test_gradients_on_the_accelerator_write_no_block(folder):
    model = opened(folder, accelerator=torch.accelerator.current_accelerator())
    work = work_folder(folder / "pruned")
    with model.writing(work):
        for block in backwalk(model, random_tokens(2), gradients=("q",), edits=False):
            assert block.gradients["q"].abs().sum() > 0
    assert not streaming.finished_files(work)


@pytest.mark.gpu
@pytest.mark.parametrize("slug", ["wanda", "flap", "fasp"])
def test_blocks_from_disk_are_pruned_on_the_accelerator(folder, monkeypatch, slug):
    device, work = torch.accelerator.current_accelerator(), work_folder(folder / "pruned")
    whole = load_model(folder / "dense", tokenizer=False)
    prune(slug, whole)
    with monkeypatch.context() as patch:
        kill_after(patch, 2)
        model = opened(folder, accelerator=device)
        with pytest.raises(Killed), model.writing(work):
            prune(slug, model)
    model = opened(folder, accelerator=device)
    with model.writing(work):
        prune(slug, model)
    assert perplexity(model, random_tokens(2)).value == pytest.approx(
        perplexity(whole, random_tokens(2)).value, rel=1e-3
    )
    save_streamed(model, work, folder / "pruned")
    again = load_model(folder / "pruned", tokenizer=False)
    torch.testing.assert_close(logits(again), logits(whole), rtol=1e-2, atol=1e-2)
