"""Model folders of others: each becomes a loaded model or one sentence, and none runs its code."""

import json
import os
import pickle
import shutil
import struct
import sys
import zipfile
from contextlib import suppress

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from implementations.harness.contract.tiny import MODEL_TYPES, VOCABULARY, random_tokens, tiny_model
from implementations.harness.errors import BadInput
from implementations.harness.model import checkpoint
from implementations.harness.model.checkpoint import load_checkpoint, save
from implementations.harness.model.loading import load_model
from implementations.harness.model.surgery import keep_channels, keep_kv_groups

IDS = random_tokens(2, 12, seed=5).ids
LAST = "model.layers.1.mlp.up_proj.weight"
every_family = pytest.mark.parametrize("family", list(MODEL_TYPES))


def logits(hf):
    with torch.no_grad():
        return hf(IDS, use_cache=False).logits


def refusal(folder):
    """What is said of a folder that must not load."""
    with pytest.raises(BadInput) as error:
        load_model(folder)
    said = str(error.value)
    assert len(said) < 1000
    assert said.isprintable()
    return said


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """Two model folders with a tokenizer: one stock, one with shapes of its own."""
    words = Tokenizer(WordLevel({f"word{i}": i for i in range(VOCABULARY)}, unk_token="word0"))
    folders = {}
    for name in ("stock", "uneven"):
        model = tiny_model("llama")
        model.tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="word0")
        if name == "uneven":
            keep_channels(model.blocks[0].feed_forward, range(7))
            keep_kv_groups(model.blocks[1].attention, [])
        folders[name] = tmp_path_factory.mktemp("whole") / name
        save(model, folders[name])
    return folders


@pytest.fixture
def stock(whole, tmp_path):
    return shutil.copytree(whole["stock"], tmp_path / "stock")


@pytest.fixture
def uneven(whole, tmp_path):
    return shutil.copytree(whole["uneven"], tmp_path / "uneven")


def edit(folder, file="config.json", /, *, without=(), **changes):
    path = folder / file
    entries = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in entries.items() if k not in without}))


def edit_weights(folder, change):
    file = folder / "model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})


def nested(depth, kind="[]"):
    return kind[0] * depth + kind[1] * depth


# The configuration.

LINEAR = {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1,000,000,000; more than 1,000"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0, no size"),
        ({"num_hidden_layers": -1}, "num_hidden_layers is -1, no size"),
        ({"num_hidden_layers": None}, "num_hidden_layers"),
        ({"num_hidden_layers": True}, "num_hidden_layers"),
        ({"num_hidden_layers": 2.0}, "num_hidden_layers"),
        ({"num_hidden_layers": [2]}, "num_hidden_layers"),
        ({"vocab_size": 0}, "vocab_size is 0"),
        ({"vocab_size": -5}, "vocab_size is -5"),
        ({"vocab_size": 10**30}, "vocab_size is 1000"),
        ({"vocab_size": "many"}, "vocab_size"),
        ({"hidden_size": 10**9}, "of another shape"),
        ({"hidden_size": 2**31 - 32, "intermediate_size": 2**31 - 1}, "overflowed"),
        ({"hidden_size": {}}, "hidden_size"),
        ({"intermediate_size": 0}, "intermediate_size is 0"),
        ({"max_position_embeddings": 0}, "max_position_embeddings is 0"),
        ({"num_attention_heads": 0}, "num_attention_heads|modulo by zero"),
        ({"num_attention_heads": 7}, "not a multiple"),
        ({"num_key_value_heads": 0}, "num_key_value_heads is 0"),
        ({"num_key_value_heads": -2}, "num_key_value_heads is -2"),
        ({"num_key_value_heads": 3}, "num_key_value_heads is 3, which does not divide 4"),
        ({"head_dim": 0}, "head_dim is 0"),
        ({"head_dim": 7}, "even rotary dimension|of another shape"),
        ({"hidden_act": "siluu"}, "siluu"),
        ({"hidden_act": ["silu"]}, "hidden_act"),
        ({"rope_parameters": {"rope_type": "spiral", "rope_theta": 1.0}}, "spiral"),
        ({"rope_parameters": {"rope_type": "llama3", "rope_theta": 1.0}}, "rope"),
        ({"rope_parameters": "default"}, "rope_parameters"),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": "high"}}, "config.json"),
        ({"rope_parameters": LINEAR | {"partial_rotary_factor": 1e9}}, "it computes"),
        ({"rope_parameters": LINEAR | {"partial_rotary_factor": 0.5}}, "cannot be"),
        ({"rms_norm_eps": "small"}, "rms_norm_eps"),
        ({"attention_bias": True}, "8 are missing, such as model.layers.0.self_attn.q_proj.bias"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings"),
        ({"tie_word_embeddings": False}, "1 are missing, such as lm_head.weight"),
        ({"pad_token_id": 96}, "adding_idx|pad_token_id"),
        ({"dtype": "load"}, "dtype is"),
        ({"dtype": "int8"}, "dtype is 'int8'; there are float32"),
        ({"dtype": "junk"}, "dtype is 'junk'"),
        ({"torch_dtype": 5}, "torch_dtype is 5"),
        ({"dtype": {"": "float32"}}, "dtype"),
        ({"return_dict": False}, "cannot be"),
        ({"model_type": ["llama"]}, "does not say the model_type"),
        ({"model_type": "a" * 5000}, "is not supported"),
        ({"model_type": "mamba", "text_config": ["llama"]}, "'mamba' is not supported"),
        ({"model_type": "gemma3", "text_config": {"model_type": 5}}, "'gemma3' is not supported"),
        ({"model_type": "qwen3"}, "are missing, such as model.layers.0.self_attn.q_norm"),
        ({"model_type": "opt"}, "config.json|do not fit"),
        ({"layer_types": 5}, "not iterable"),
        ({"id2label": "x"}, "no attribute 'items'"),
        ({"num_labels": "x"}, "config.json"),
        ({"num_labels": 10**9}, "num_labels is 1,000,000,000; more than 10,000"),
        ({"num_hidden_layers": 10**30}, "num_hidden_layers is 1,000,000,000,000"),
        ({"model_type": "qwen2", "num_hidden_layers": 10**9}, "more than 1,000"),
        ({"transformers_weights": "other.safetensors"}, "transformers_weights, which is not supp"),
        ({"fusion_config": {"patch_embeddings": True}}, "fusion_config"),
        ({"quantization_config": 5}, "quantised"),
        ({"per_layer_config": [5]}, "per_layer_config"),
        ({"attn_implementation": "someone/kernel"}, "asks for an attn_implementation other than"),
        ({"_attn_implementation": "someone/kernel"}, "asks for an _attn_implementation other than"),
        ({"attn_implementation": ["eager"]}, "asks for an attn_implementation other than"),
    ],
    ids=str,
)
def test_a_configuration_that_cannot_be(stock, changes, words, capfd):
    edit(stock, **changes)
    said = refusal(stock)
    assert any(word in said for word in words.split("|")), said
    assert str(stock) in said
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(
    "text",
    [
        "[]", "5", "null", '""', "{", nested(100_000), nested(40) , '{"model_type": NaN}',
        '{"model_type": "llama", "model_type": "opt"}', '{"model_type": null}', "",
        '{"model_type": "llama", "x": ' + nested(50_000, "[]") + "}",
    ],
    ids=range(12),
)  # fmt: skip
def test_a_configuration_that_is_none(stock, text):
    (stock / "config.json").write_text(text)
    assert "config.json" in refusal(stock)


def test_a_configuration_without_vocabulary_has_that_of_its_family(stock):
    edit(stock, without=["vocab_size"])
    said = refusal(stock)
    assert "model.embed_tokens.weight of [96, 32] in place of [32000, 32]" in said


def test_what_the_class_itself_is_cannot_be_set(stock, tmp_path):
    edit(stock, base_model_tp_plan=[], default_theta=5)
    save(load_model(stock), tmp_path / "again")
    assert "default_theta" not in (tmp_path / "again" / "config.json").read_text()
    edit(stock, "generation_config.json", update="x")
    assert "generation_config.json: update is no setting; remove it" in refusal(stock)
    edit(stock, to_dict=5)
    assert "config.json: to_dict is no setting; remove it" in refusal(stock)


def test_settings_that_nobody_knows_do_no_harm(stock, tmp_path):
    edit(stock, unsloth_version="1", made_with={"a": [1]}, rope_theta=1e4)
    save(load_model(stock), tmp_path / "again")
    assert load_model(tmp_path / "again").config.made_with == {"a": [1]}


SHAPE = {"heads": 4, "kv_heads": 2, "channels": 48, "biases": []}


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        (None, "pruned_shapes: Input should be a valid list"),
        ("all", "pruned_shapes: Input should be a valid list"),
        ({"0": SHAPE}, "pruned_shapes: Input should be a valid list"),
        ([], "has 0 entries for 2 blocks"),
        ([SHAPE], "has 1 entries for 2 blocks"),
        ([SHAPE] * 3, "has 3 entries for 2 blocks"),
        ([SHAPE, 5], "1: Input should be"),
        ([SHAPE, [SHAPE]], "1: Input should be"),
        ([SHAPE, SHAPE | {"heads": "4"}], "1.heads: Input should be a valid integer"),
        ([SHAPE, SHAPE | {"heads": True}], "1.heads: Input should be a valid integer"),
        ([SHAPE, SHAPE | {"heads": 4.0}], "1.heads: Input should be a valid integer"),
        ([SHAPE, SHAPE | {"channels": -1}], "1.channels: Input should be greater"),
        ([SHAPE, SHAPE | {"channels": 10**30}], "1.channels: Input should be"),
        ([SHAPE, SHAPE | {"channels": 49}], "(4, 2, 49) are more than the dense block's"),
        ([SHAPE, SHAPE | {"heads": 10**9}], "more than the dense block's"),
        ([SHAPE, SHAPE | {"heads": 3}], "2 kv_heads do not divide 3 heads"),
        ([SHAPE, SHAPE | {"heads": 0}], "2 kv_heads do not divide 0 heads"),
        ([SHAPE, SHAPE | {"kv_heads": 0}], "0 kv_heads do not divide 4 heads"),
        ([SHAPE, {"heads": 4}], "1.kv_heads: Field required"),
        ([SHAPE, SHAPE | {"depth": 1}], "1.depth: Extra inputs"),
        ([SHAPE, SHAPE | {"biases": "o_proj"}], "1.biases: Input should be a valid list"),
        ([SHAPE, SHAPE | {"biases": [5]}], "1.biases.0: Input should be a valid string"),
        ([SHAPE, SHAPE | {"biases": ["lm_head"]}], "no layer 'lm_head' to have a bias"),
        ([SHAPE, SHAPE | {"biases": ["o_proj"]}], "do not fit"),
        ([[[[[SHAPE]]]], SHAPE], "0: Input should be"),
        ([SHAPE | {"heads": 0, "kv_heads": 0, "channels": 0}] * 2, "leaves nothing in any block"),
        ([SHAPE, SHAPE], "are of another shape"),
        ([{"junk": "\x1b[31m" * 100}] * 900, "pruned_shapes"),
    ],
    ids=range(28),
)  # fmt: skip
def test_malformed_shapes(uneven, shapes, words):
    edit(uneven, pruned_shapes=shapes)
    assert words in refusal(uneven)


# Weights that the configuration does not describe.


@every_family
@pytest.mark.parametrize("says", [1, 3])
def test_another_number_of_blocks(family, says, tmp_path):
    save(tiny_model(family, blocks=2), tmp_path / "out")
    config = tiny_model(family, blocks=says).config.to_dict()
    edit(
        tmp_path / "out",
        **{k: config[k] for k in ("num_hidden_layers", "layer_types") if k in config},
    )
    with pytest.raises(BadInput) as error:
        load_checkpoint(tmp_path / "out")
    assert f"which says num_hidden_layers {says} where they have 2 blocks" in str(error.value)
    assert ("unexpected" if says == 1 else "missing") in str(error.value)
    assert "such as model." in str(error.value)
    assert "Take both from the same model" in str(error.value)


def test_another_number_of_blocks_in_own_shapes(uneven):
    config = json.loads((uneven / "config.json").read_text())
    edit(uneven, num_hidden_layers=1, pruned_shapes=config["pruned_shapes"][:1])
    assert "9 are unexpected, such as model.layers.1." in refusal(uneven)


@pytest.mark.parametrize(
    "name", ["score.weight", "model.layers.0.self_attn.q_proj.bias", "v_head.summary.weight", "x"]
)
def test_unexpected_weights(stock, name):
    edit_weights(stock, lambda tensors: tensors.update({name: torch.ones(3)}))
    assert f"1 are unexpected, such as {name}" in refusal(stock)


@every_family
def test_what_checkpoints_of_old_hold_besides_is_no_reason(family, tmp_path):
    """A tied head written out, names without the prefix, buffers that the model computes."""
    model = tiny_model(family)
    save(model, tmp_path / "out")
    embedding = model.embedding.detach().clone()

    def add(tensors):
        if model.config.tie_word_embeddings:
            tensors["lm_head.weight"] = embedding
        for name in list(tensors):
            if not name.startswith("lm_head"):
                tensors[name.removeprefix("model.")] = tensors.pop(name)
        if family in ("llama", "mistral", "qwen2", "qwen3"):
            tensors["layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)

    edit_weights(tmp_path / "out", add)
    again = load_checkpoint(tmp_path / "out")
    assert torch.equal(logits(again), logits(model.hf))
    head = again.get_output_embeddings().weight
    assert (head is again.get_input_embeddings().weight) is model.config.tie_word_embeddings


@pytest.mark.parametrize("family", ["llama", "gemma3", "opt"])
def test_of_tied_weights_either_will_do(family, tmp_path):
    model = tiny_model(family)
    save(model, tmp_path / "out")
    name = next(n for n in model.hf.state_dict() if "embed_tokens" in n)
    edit_weights(
        tmp_path / "out", lambda tensors: tensors.update({"lm_head.weight": tensors.pop(name)})
    )
    assert torch.equal(logits(load_checkpoint(tmp_path / "out")), logits(model.hf))


def test_a_tied_head_of_other_values_is_refused(stock):
    """transformers would leave them untied, others would tie them."""
    edit_weights(stock, lambda tensors: tensors.update({"lm_head.weight": torch.ones(96, 32)}))
    said = refusal(stock)
    assert "ties lm_head.weight to model.embed_tokens.weight" in said
    assert "set tie_word_embeddings to false" in said


def test_whole_numbers_are_no_weights(stock):
    edit_weights(stock, lambda tensors: tensors.update({LAST: tensors[LAST].to(torch.int8)}))
    assert f"{LAST} is torch.int8; load the checkpoint in full precision" in refusal(stock)


def test_a_name_with_and_without_prefix(stock):
    short = LAST.removeprefix("model.")
    edit_weights(stock, lambda tensors: tensors.update({short: tensors[LAST].clone()}))
    assert f"hold {LAST} twice" in refusal(stock)


def test_what_transformers_leaves_out_is_noticed(stock, monkeypatch):
    def without_last(*arguments):
        return {k: v for k, v in fitted(*arguments).items() if k != LAST}

    fitted = checkpoint.fitted
    monkeypatch.setattr(checkpoint, "fitted", without_last)
    assert "was loaded without 1 of its weights" in refusal(stock)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_weights_say_their_dtype_where_the_configuration_does_not(stock, dtype):
    wanted = getattr(torch, dtype)
    edit_weights(
        stock, lambda tensors: tensors.update({k: v.to(wanted) for k, v in tensors.items()})
    )
    edit(stock, without=["dtype"])
    assert load_checkpoint(stock).dtype == wanted


# Files of weights.


def write_header(folder, change, content=None):
    """Rewrite the header of the weights as `change` leaves it, or as the text that it returns."""
    file = folder / "model.safetensors"
    raw = file.read_bytes()
    (size,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + size])
    text = (change(header) or json.dumps(header)).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + size :])


def entry(**changes):
    return lambda header: header[LAST].update(changes)


@pytest.mark.parametrize(
    "change",
    [
        entry(data_offsets=[-4, 10]),
        entry(data_offsets=[0, 6144]),
        entry(data_offsets=[10**15, 10**15 + 6144]),
        entry(data_offsets=[6144, 0]),
        entry(data_offsets=["0", "9"]),
        entry(data_offsets=[0.5, 1.5]),
        entry(data_offsets=[0]),
        entry(data_offsets=None),
        entry(data_offsets=[[], {}]),
        entry(data_offsets=[0, 2**70]),
        entry(dtype="F31"),
        entry(dtype=5),
        entry(dtype=None),
        entry(shape=[48, 33]),
        entry(shape=[-48, -32]),
        entry(shape=[2**40, 2**40]),
        entry(shape="48x32"),
        entry(shape=1536),
        lambda header: header.update({LAST: 5}),
        lambda header: header.update({LAST: []}),
        lambda header: header.update({"": {}}),
        lambda header: header.update(__metadata__=5),
        lambda header: header[LAST].pop("dtype") and None,
        lambda header: "[]",
        lambda header: "5",
        lambda header: nested(200_000),
        lambda header: '{"a": ' + nested(100, "[]") + "}",
        lambda header: "\x00" * 50,
    ],
    ids=range(28),
)
def test_damaged_headers(stock, change):
    write_header(stock, change)
    said = refusal(stock)
    assert "model.safetensors" in said
    assert "damaged" in said or "truncated" in said


@pytest.mark.parametrize("size", [0, 10**7 + 1, 2**63, 2**64 - 1])
def test_a_header_of_any_length(stock, size):
    file = stock / "model.safetensors"
    file.write_bytes(struct.pack("<Q", size) + file.read_bytes()[8:])
    said = refusal(stock)
    assert "model.safetensors is" in said


def test_a_header_too_long_is_not_read(stock):
    file = stock / "model.safetensors"
    with file.open("wb") as stream:
        stream.write(struct.pack("<Q", 10**12))
        stream.truncate(10**13)  # holes: nothing is stored
    assert "its header has 1,000,000,000,000 bytes" in refusal(stock)


@pytest.mark.parametrize(
    "index",
    [
        [], 5, None, {}, {"weight_map": []}, {"weight_map": {}}, {"weight_map": "x"},
        {"weight_map": {LAST: 5}}, {"weight_map": {LAST: None}}, {"weight_map": {LAST: ["a"]}},
        {"weight_map": {LAST: "../x.safetensors"}}, {"weight_map": {LAST: "/etc/x.safetensors"}},
        {"weight_map": {LAST: "a/b.safetensors"}}, {"weight_map": {LAST: "x.bin"}},
        {"weight_map": {LAST: ""}}, {"weight_map": {LAST: "x\0.safetensors"}},
        {"weight_map": {LAST: "x" * 300 + ".safetensors"}}, {"weight_map": {LAST: "."}},
        {"weight_map": {LAST: "missing.safetensors"}},
        {"weight_map": {LAST: "folder.safetensors"}},
        {"weight_map": {str(i): f"{i}.safetensors" for i in range(5000)}},
    ],
    ids=range(21),
)  # fmt: skip
def test_indexes_that_name_no_files_beside_them(stock, index):
    weights = stock / "model.safetensors"
    weights.rename(stock.parent / "x.safetensors")  # where one of them points
    (stock / "folder.safetensors").mkdir()
    (stock / "model.safetensors.index.json").write_text(json.dumps(index))
    said = refusal(stock)
    assert "index.json is damaged" in said or "weights files" in said


def test_shards(stock):
    tensors = load_file(stock / "model.safetensors")
    names = sorted(tensors)
    save_file({n: tensors[n] for n in names[:5]}, stock / "a.safetensors")
    save_file({n: tensors[n] for n in names[5:]}, stock / "b.safetensors")
    places = {n: "a.safetensors" if n in names[:5] else "b.safetensors" for n in names}
    index = stock / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": places}))
    dense = load_model(stock)
    (stock / "model.safetensors").unlink()
    assert torch.equal(logits(load_model(stock).hf), logits(dense.hf))
    (stock / "b.safetensors").write_bytes(b"")
    assert "b.safetensors is truncated" in refusal(stock)
    save_file({}, stock / "b.safetensors")
    assert "are missing, such as" in refusal(stock)
    save_file({n: tensors[n] for n in names}, stock / "b.safetensors")
    assert "which another file holds too" in refusal(stock)


class Evil:
    """Unpickled without care, it leaves a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def pickled(content):
    def write(path, traces):
        torch.save(content(traces), path)

    return write


def compressed(path, _):
    torch.save({"a": torch.zeros(9)}, path)
    with zipfile.ZipFile(path) as packed:
        parts = {name: packed.read(name) for name in packed.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, part in parts.items():
            packed.writestr(name, part)


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda path, _: path.write_bytes(b""), "no plain weights"),
        (lambda path, _: path.write_bytes(b"x" * 100), "no plain weights"),
        (lambda path, _: path.write_bytes(b"PK\3\4" + b"x" * 100), "no plain weights"),
        (lambda path, _: zipfile.ZipFile(path, "w").close(), "no plain weights"),
        (lambda path, to: path.write_bytes(pickle.dumps(Evil(to))), "code in it, which is never"),
        (pickled(lambda to: {"a": Evil(to)}), "code in it, which is never run"),
        (pickled(lambda to: Evil(to)), "code in it, which is never run"),
        (pickled(lambda _: [1]), "a list in place of weights"),
        (pickled(lambda _: {5: torch.ones(1)}), "holds 5, which is no plain weight"),
        (pickled(lambda _: {"a": "b"}), "holds 'a', which is no plain weight"),
        (pickled(lambda _: {"a": torch.ones(3).to_sparse()}), "holds 'a', which is no plain"),
        (pickled(lambda _: {"a": torch.ones(3, device="meta")}), "holds 'a', which is no plain"),
        (pickled(lambda _: {"state": {"a": torch.ones(1)}}), "holds 'state', which is no plain"),
        (pickled(lambda _: {}), "are missing"),
        (compressed, "is compressed"),
    ],
    ids=range(15),
)  # fmt: skip
def test_pickles(stock, tmp_path, write, words):
    (stock / "model.safetensors").unlink()
    write(stock / "pytorch_model.bin", tmp_path / "traces")
    assert words in refusal(stock)
    assert not (tmp_path / "traces").exists()


def test_weights_that_share_their_bytes_do_not_grow(stock):
    """Kilobytes of a file would become as many gigabytes as the configuration likes."""
    tensors = load_file(stock / "model.safetensors")
    (stock / "model.safetensors").unlink()
    grown = {n: torch.zeros(1).expand(t.shape) for n, t in tensors.items()}
    torch.save(grown, stock / "pytorch_model.bin")
    assert "share their bytes" in refusal(stock)
    torch.save(
        {n: t.mT.contiguous().mT for n, t in tensors.items() if t.ndim == 2}
        | {n: t for n, t in tensors.items() if t.ndim == 1},
        stock / "pytorch_model.bin",
    )
    load_model(stock)


# The other files.


@pytest.mark.parametrize(
    "text",
    [
        "[]", "5", "null", "{", '"x"', nested(100_000), '{"eos_token_id": "x"}',
        '{"eos_token_id": [[1]]}', '{"eos_token_id": {}}', '{"eos_token_id": 1.5}',
        '{"max_new_tokens": "many"}', '{"max_new_tokens": -1}', '{"watermarking_config": 5}',
        '{"cache_implementation": "none"}', '{"early_stopping": {}}', '{"compile_config": 5}',
    ],
)  # fmt: skip
def test_damaged_generation_settings(stock, text):
    (stock / "generation_config.json").write_text(text)
    assert "generation_config.json" in refusal(stock)


def test_generation_settings_of_the_configuration_still_count(stock):
    (stock / "generation_config.json").unlink()
    edit(stock, max_length=7, eos_token_id=[2, 5])
    settings = load_model(stock).hf.generation_config
    assert (settings.max_length, settings.eos_token_id) == (7, [2, 5])
    known = AutoModelForCausalLM.from_pretrained(stock).generation_config
    assert settings.to_dict() == known.to_dict()


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("tokenizer.json", ""),
        ("tokenizer.json", "[]"),
        ("tokenizer.json", nested(100_000)),
        ("tokenizer.json", '{"model": {"type": "WordLevel", "vocab": {"a": -1}}}'),
        ("tokenizer.json", '{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]}}'),
        ("tokenizer.json", '{"model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "u"}}'),
        ("tokenizer.json", '{"model": {"type": "Unigram", "vocab": [["a", 0]], "unk_id": 7}}'),
        ("tokenizer_config.json", "["),
        ("tokenizer_config.json", "[]"),
        ("tokenizer_config.json", "5"),
        ("tokenizer_config.json", nested(100_000)),
        ("tokenizer_config.json", '{"tokenizer_class": 5}'),
        ("tokenizer_config.json", '{"added_tokens_decoder": 5}'),
        ("tokenizer_config.json", '{"added_tokens_decoder": {"x": "y"}}'),
        ("tokenizer_config.json", '{"unk_token": {"a": []}}'),
        ("special_tokens_map.json", "[]"),
        ("added_tokens.json", "[]"),
    ],
)
def test_damaged_tokenizers(stock, file, text):
    (stock / file).write_text(text)
    if file == "added_tokens.json" or file == "special_tokens_map.json":
        (stock / "tokenizer_config.json").unlink()
    said = refusal(stock)
    assert f"the tokenizer in {stock} cannot be read" in said
    assert "copy it from the base model again" in said


def test_a_tokenizer_over_which_rust_panics(stock):
    (stock / "tokenizer.json").unlink()
    edit(stock, "tokenizer_config.json", tokenizer_class="GPT2Tokenizer")
    (stock / "vocab.json").write_text('{"a": 0, "b": 1}')
    (stock / "merges.txt").write_text("#version: 0.2\na b\n")
    assert f"the tokenizer in {stock} cannot be read" in refusal(stock)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}}, "charsmap"),
        ({"pre_tokenizer": {"type": "FixedLength", "length": 0}}, "chunk size must be non-zero"),
        (
            {
                "model": {"type": "WordLevel", "vocab": {"w": 0}, "unk_token": "w"},
                "added_tokens": [],
                "decoder": {"type": "Strip", "content": "w", "start": 0, "stop": 9},
            },
            "index out of bounds",
        ),
        (
            {
                "post_processor": {
                    "type": "TemplateProcessing",
                    "single": [{"SpecialToken": {"id": "x", "type_id": 0}}],
                    "pair": [],
                    "special_tokens": {"x": {"id": "x", "ids": [10**6], "tokens": ["x"]}},
                }
            },
            "its ids go up to 1000000, the model has 96 embeddings",
        ),
    ],
    ids=str,
)
def test_parts_of_a_tokenizer_that_cannot_work(stock, changes, words):
    edit(stock, "tokenizer.json", **changes)
    assert words in refusal(stock)


@pytest.mark.parametrize(
    "name",
    ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "chat.jinja"],
)
def test_pipes_are_not_waited_for(stock, name):
    (stock / name).unlink(missing_ok=True)
    os.mkfifo(stock / name)
    assert f"{name} is neither file nor folder" in refusal(stock)


def test_a_name_that_a_terminal_obeys_is_not_repeated(stock):
    os.mkfifo(stock / "\x1b[31m\n")
    assert "?[31m is neither file nor folder" in refusal(stock)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("config.json", "config.json: it is a folder"),
        ("generation_config.json", "generation_config.json: it is a folder"),
        (
            "model.safetensors",
            "holds no weights: model.safetensors or pytorch_model.bin is missing",
        ),
        ("model.safetensors.index.json", "holds no weights"),
        ("tokenizer.json", "has no tokenizer"),
    ],
)
def test_folders_in_place_of_files(stock, name, words):
    if name.startswith("model"):
        (stock / "model.safetensors").unlink()
    (stock / name).unlink(missing_ok=True)
    (stock / name).mkdir()
    assert words in refusal(stock)


def test_an_endless_file_is_not_read(stock):
    (stock / "config.json").unlink()
    (stock / "config.json").symlink_to("/dev/zero")
    assert "is neither file nor folder" in refusal(stock)


def test_a_link_to_nothing_is_missing(stock):
    (stock / "config.json").unlink()
    (stock / "config.json").symlink_to(stock / "nowhere")
    assert "config.json is missing" in refusal(stock)


def test_only_the_weights_that_were_checked_are_loaded(stock, monkeypatch):
    """transformers looks for adapters and sharded weights by itself and would take them instead."""
    plain = logits(load_model(stock).hf)
    (stock / "adapter_config.json").write_text('{"base_model_name_or_path": "/nowhere"}')
    (stock / "adapter_model.safetensors").write_bytes(b"x")
    (stock / "shard-00000-model-00001-of-00001.safetensors").write_bytes(b"x")
    assert torch.equal(logits(load_model(stock).hf), plain)


def test_no_code_of_a_folder_is_ever_run(stock, tmp_path):
    code = f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Model: pass\nConfig = Tokenizer = Model\n"
    for name in ("evil.py", "modeling_pruned.py", "__init__.py", "setup.py", "sitecustomize.py"):
        (stock / name).write_text(code)
    (stock / "custom_generate").mkdir()
    (stock / "custom_generate" / "generate.py").write_text(code)
    auto = {
        "AutoConfig": "evil.Config",
        "AutoModelForCausalLM": "evil.Model",
        "AutoTokenizer": ["evil.Tokenizer", "evil.Tokenizer"],
    }
    edit(stock, auto_map=auto, custom_generate="custom_generate", trust_remote_code=True)
    edit(stock, "tokenizer_config.json", auto_map=auto, trust_remote_code=True)
    edit(stock, "generation_config.json", auto_map=auto, trust_remote_code=True)
    before = set(sys.modules)
    assert load_model(stock).family.name == "llama"
    edit(stock, "tokenizer_config.json", tokenizer_class="Tokenizer")
    with suppress(BadInput):
        load_model(stock)
    assert not (tmp_path / "ran").exists()
    assert not [name for name in set(sys.modules) - before if "evil" in name]


def test_a_tokenizer_of_its_own_code_is_refused_with_a_way_out_that_works(stock):
    own = {"auto_map": {"AutoTokenizer": ["own.Tokenizer", None]}, "tokenizer_class": "Own"}
    edit(stock, "tokenizer_config.json", **own)
    said = refusal(stock)
    assert "asks for its own Python code (auto_map in tokenizer_config.json)" in said
    assert "trust_remote_code" not in said
    edit(stock, "tokenizer_config.json", without=("auto_map",))  # tokenizer.json is there
    assert load_model(stock).tokenizer.vocab_size == VOCABULARY


def test_a_folder_of_many_files_is_listed_in_short(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    for i in range(500):
        (tmp_path / f"file-{i}").touch()
    assert "holds no weights" in refusal(tmp_path)
