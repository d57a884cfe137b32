"""Model folders from elsewhere: errors are explained, old layouts load, and no code runs."""

import json
import pickle
import shutil
import sys
from contextlib import suppress

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from implementations.harness.contract.tiny import MODEL_TYPES, VOCABULARY, random_tokens, tiny_model
from implementations.harness.errors import BadInput
from implementations.harness.model.checkpoint import load_checkpoint, weights_sha256
from implementations.harness.model.loading import load_model
from implementations.harness.model.saving import save_model
from implementations.harness.model.surgery import keep_channels, keep_kv_groups

IDS = random_tokens(2, 12, seed=5).ids
UP = "model.layers.1.mlp.up_proj.weight"


def logits(hf):
    with torch.no_grad():
        return hf(IDS, use_cache=False).logits


def refusal(folder):
    """Return the error message for a folder that must not load."""
    with pytest.raises(BadInput) as error:
        load_model(folder)
    assert str(folder) in str(error.value)
    return str(error.value)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return two model folders with tokenizers: one in stock shapes, one in custom shapes."""
    words = Tokenizer(WordLevel({f"word{i}": i for i in range(VOCABULARY)}, unk_token="word0"))
    folders = {}
    for name in ("stock", "uneven"):
        model = tiny_model("llama")
        model.tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="word0")
        if name == "uneven":
            keep_channels(model.blocks[0].feed_forward, range(7))
            keep_kv_groups(model.blocks[1].attention, [])
        folders[name] = tmp_path_factory.mktemp("whole") / name
        save_model(model, folders[name])
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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_hidden_layers": 1}, "9 are unexpected, such as model.layers.1."),
        ({"num_hidden_layers": 3}, "9 are missing, such as model.layers.2."),
        ({"intermediate_size": 40}, "down_proj.weight of [32, 48] instead of [32, 40]"),
        ({"attention_bias": True}, "8 are missing, such as model.layers.0.self_attn.k_proj.bias"),
        ({"tie_word_embeddings": False}, "1 are missing, such as lm_head.weight"),
        ({"hidden_act": "siluu"}, "siluu"),
        ({"num_attention_heads": 7}, "config.json is not a valid configuration of llama"),
        ({"attn_implementation": "someone/kernel"}, "`attn_implementation` must be eager or sdpa"),
    ],
    ids=str,
)
def test_refuses_configuration_that_does_not_match_the_weights(stock, changes, message):
    edit(stock, **changes)
    assert message in refusal(stock)


@pytest.mark.parametrize("shapes", [None, [], [{"heads": 4}] * 2])
def test_refuses_malformed_shapes(uneven, shapes):
    edit(uneven, pruned_shapes=shapes)
    assert "cannot be loaded" in refusal(uneven)


def test_refuses_shapes_that_do_not_match_the_weights(uneven):
    dense = {"heads": 4, "kv_heads": 2, "channels": 48, "biases": []}
    edit(uneven, pruned_shapes=[dense, dense])
    assert "have another shape" in refusal(uneven)


def test_reports_missing_and_unexpected_weights(stock):
    edit_weights(stock, lambda tensors: tensors.update({"v_head.weight": tensors.pop(UP)}))
    message = refusal(stock)
    assert f"1 are missing, such as {UP}" in message
    assert "1 are unexpected, such as v_head.weight" in message


@pytest.mark.parametrize("family", list(MODEL_TYPES))
def test_loads_old_checkpoints(family, tmp_path):
    """They have a tied head, names without the prefix, and buffers that the model computes."""
    model = tiny_model(family)
    save_model(model, tmp_path / "out")
    embedding = model.embedding.detach().clone()

    def age(tensors):
        if model.config.tie_word_embeddings:
            tensors["lm_head.weight"] = embedding
        for name in list(tensors):
            if not name.startswith("lm_head"):
                tensors[name.removeprefix("model.")] = tensors.pop(name)
        if family in ("llama", "mistral", "qwen2", "qwen3"):
            tensors["layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)

    edit_weights(tmp_path / "out", age)
    again = load_checkpoint(tmp_path / "out")
    assert torch.equal(logits(again), logits(model.hf))
    head = again.get_output_embeddings().weight
    assert (head is again.get_input_embeddings().weight) is model.config.tie_word_embeddings


@pytest.mark.parametrize("family", ["llama", "gemma3", "opt"])
def test_loads_tied_weights_by_either_name(family, tmp_path):
    model = tiny_model(family)
    save_model(model, tmp_path / "out")
    name = next(n for n in model.hf.state_dict() if "embed_tokens" in n)
    edit_weights(
        tmp_path / "out", lambda tensors: tensors.update({"lm_head.weight": tensors.pop(name)})
    )
    assert torch.equal(logits(load_checkpoint(tmp_path / "out")), logits(model.hf))


def test_dtype_defaults_to_that_of_the_weights(stock):
    edit_weights(
        stock, lambda tensors: tensors.update({k: v.bfloat16() for k, v in tensors.items()})
    )
    edit(stock, without=["dtype"])
    assert load_checkpoint(stock).dtype == torch.bfloat16


class Evil:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize(
    "write",
    [
        lambda path, trace: torch.save({"a": Evil(trace)}, path),
        lambda path, trace: path.write_bytes(pickle.dumps(Evil(trace))),
        lambda path, trace: path.write_bytes(b"x" * 100),
    ],
)
def test_refuses_pickles_with_code_without_running_it(stock, tmp_path, write):
    (stock / "model.safetensors").unlink()
    write(stock / "pytorch_model.bin", tmp_path / "trace")
    assert "a pickle with code, which is never run" in refusal(stock)
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_loads_pickled_weights_also_from_before_torch_1_6(stock, zipped):
    dense, file = load_model(stock), stock / "pytorch_model.bin"
    (stock / "model.safetensors").unlink()
    torch.save(dense.hf.state_dict(), file, _use_new_zipfile_serialization=zipped)
    again = load_model(stock)
    assert torch.equal(logits(again.hf), logits(dense.hf))
    assert again.identity.weights == weights_sha256([file])


def test_loads_only_hashed_weights(stock):
    """transformers would also load adapters from the folder."""
    plain = logits(load_model(stock).hf)
    (stock / "adapter_config.json").write_text('{"base_model_name_or_path": "/nowhere"}')
    (stock / "adapter_model.safetensors").write_bytes(b"x")
    assert torch.equal(logits(load_model(stock).hf), plain)


def test_refuses_damaged_generation_settings(stock):
    (stock / "generation_config.json").write_text('{"max_new_tokens": -1}')
    assert "generation_config.json is damaged" in refusal(stock)


def test_uses_generation_settings_of_the_configuration(stock):
    (stock / "generation_config.json").unlink()
    edit(stock, max_length=7, eos_token_id=[2, 5])
    settings = load_model(stock).hf.generation_config
    assert (settings.max_length, settings.eos_token_id) == (7, [2, 5])
    known = AutoModelForCausalLM.from_pretrained(stock).generation_config
    assert settings.to_dict() == known.to_dict()


@pytest.mark.parametrize("file", ["tokenizer.json", "tokenizer_config.json"])
def test_refuses_damaged_tokenizers(stock, file):
    (stock / file).write_text("[")
    assert f"the tokenizer in {stock} cannot be read" in refusal(stock)


def test_never_runs_code_from_a_folder(stock, tmp_path):
    code = f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Model: pass\nConfig = Tokenizer = Model\n"
    for name in ("evil.py", "modeling_pruned.py", "__init__.py", "sitecustomize.py"):
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
