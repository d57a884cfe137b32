"""Weights are written block by block, in as many files as it takes, as transformers reads them."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from implementations.harness import keep_channels
from implementations.harness.contract.tiny import MODEL_TYPES, ShutModel, random_tokens, tiny_model
from implementations.harness.errors import BadInput
from implementations.harness.model.checkpoint import load_checkpoint, save
from implementations.harness.model.weight_files import weight_files, write_weights

INDEX = "model.safetensors.index.json"
every_family = pytest.mark.parametrize("family", list(MODEL_TYPES))


def logits(hf):
    with torch.no_grad():
        return hf(random_tokens(2, 20, seed=7).ids, use_cache=False).logits


@every_family
def test_several_files_and_an_index_load_with_transformers_alone(family, tmp_path):
    model = tiny_model(family, blocks=3)
    write_weights(model, tmp_path, limit=20_000)
    model.config.save_pretrained(tmp_path)
    names = [f"model-{i:05}-of-00004.safetensors" for i in (1, 2, 3, 4)]  # outside, each block
    assert sorted(path.name for path in tmp_path.glob("model*")) == [*names, INDEX]
    hf, report = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert torch.equal(logits(hf.eval()), logits(model.hf))
    assert torch.equal(logits(load_checkpoint(tmp_path)), logits(model.hf))
    tied = hf.lm_head.weight is hf.get_input_embeddings().weight
    assert tied is bool(model.config.tie_word_embeddings)


def test_the_index_says_where_each_weight_is_and_what_all_take(tmp_path):
    model = tiny_model("llama", blocks=3)
    write_weights(model, tmp_path, limit=20_000)
    index = json.loads((tmp_path / INDEX).read_text())
    found = {path.name: load_file(path) for path in weight_files(tmp_path)}
    assert index["weight_map"] == {
        tensor: name for name, tensors in found.items() for tensor in tensors
    }
    assert index["metadata"]["total_size"] == sum(
        p.numel() * 4
        for p in model.hf.parameters()  # the tied one once
    )
    assert "lm_head.weight" not in index["weight_map"]
    for name, tensor in model.hf.state_dict().items():
        if name != "lm_head.weight":
            assert torch.equal(found[index["weight_map"][name]][name], tensor)


@pytest.mark.parametrize(("limit", "files"), [(10**9, 1), (80_000, 2), (70_000, 2), (1, 4)])
def test_pieces_are_filled_up_to_the_limit(limit, files, tmp_path):
    model = tiny_model("llama", blocks=3)  # 12 kB outside, 31 kB a block
    write_weights(model, tmp_path, limit)
    written = weight_files(tmp_path)
    assert len(written) == files
    assert (tmp_path / INDEX).exists() is (files > 1)
    block = 7680 * 4 + 64 * 4
    for path in written:
        assert sum(t.nbytes for t in load_file(path).values()) <= max(limit, block)


def test_a_missing_piece_is_named(tmp_path):
    write_weights(tiny_model(), tmp_path, limit=1)
    (tmp_path / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(BadInput, match="lacks 1 of 3 weights files: model-00002-of-00003"):
        weight_files(tmp_path)


@every_family
def test_a_model_opened_block_by_block_is_saved_to_the_same_bits(family, tmp_path):
    save(tiny_model(family), tmp_path / "whole")
    save(ShutModel(tiny_model(family)), tmp_path / "shut")
    for path in sorted((tmp_path / "whole").iterdir()):
        assert path.read_bytes() == (tmp_path / "shut" / path.name).read_bytes(), path.name


def test_blocks_that_differ_are_saved_shut_too(tmp_path):
    model = tiny_model()
    keep_channels(model.blocks[0].feed_forward, range(5))
    expected = logits(model.hf)
    save(ShutModel(model), tmp_path / "shut")
    assert torch.equal(logits(load_checkpoint(tmp_path / "shut")), expected)
