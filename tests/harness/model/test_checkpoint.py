"""Checkpoints of all families, in stock shapes and with custom code."""

import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers
import yaml
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from implementations.harness.contract.tiny import (
    MODEL_TYPES,
    random_tokens,
    tiny_config,
    tiny_model,
)
from implementations.harness.errors import BadInput, Unavailable
from implementations.harness.model import modeling_pruned, saving
from implementations.harness.model.checkpoint import load_checkpoint
from implementations.harness.model.saving import save_model
from implementations.harness.model.surgery import (
    add_bias,
    keep_channels,
    keep_kv_groups,
    keep_units,
    remove_blocks,
)
from implementations.harness.model.view import LanguageModel

FAMILIES = list(MODEL_TYPES)
IDS = random_tokens(2, 20, seed=7).ids
PACKAGES = Path(transformers.__file__).parents[1]


def logits(hf):
    with torch.no_grad():
        return hf(IDS, use_cache=False).logits


def continued(hf, *, cache):
    return hf.generate(
        IDS, max_new_tokens=16, min_new_tokens=16, do_sample=False, use_cache=cache, pad_token_id=0
    )


def uniform_channels(model):
    for block in model.blocks:
        keep_channels(block.feed_forward, range(0, 48, 2))


def fewer_blocks(model):
    remove_blocks(model, [1])


def zeros(model):
    for _, _, linear in model.linears():
        linear.weight.data[:, ::2] = 0


def uniform_heads(model):
    for block in model.blocks:
        keep_kv_groups(block.attention, range(block.attention.kv_heads)[:-1])


def uneven(model):
    """Make all blocks differ; the first has no heads, the third no channels, two get biases."""
    first, second, third = model.blocks
    keep_kv_groups(first.attention, [])
    add_bias(first.attention.o, torch.linspace(-1, 1, 32))
    keep_channels(first.feed_forward, range(0, 48, 5))
    keep_kv_groups(second.attention, range(second.attention.kv_heads)[-1:])
    keep_channels(third.feed_forward, [])
    add_bias(third.feed_forward.down, torch.linspace(1, -1, 32))


def only_biases(model):
    add_bias(model.blocks[1].attention.o, torch.linspace(-1, 1, 32))


def emptied_block(model):
    keep_kv_groups(model.blocks[0].attention, [])
    keep_channels(model.blocks[0].feed_forward, [])


def inside(model):
    """Remove rows and columns inside the layers of two blocks, whose widths do not change."""
    keep_units(model.blocks[0], "query-heads", [0, 3])
    keep_units(model.blocks[2], "value-dims", range(1, 14, 3))


STOCK = [fewer_blocks, uniform_channels, zeros]
CUSTOM = [uneven, emptied_block, inside]


def listed(folder):
    return sorted(path.name for path in folder.iterdir())


def several_groups(family, **overrides):
    if family == "qwen3":
        overrides.setdefault("num_key_value_heads", 2)
    return tiny_model(family, blocks=3, **overrides)


@pytest.fixture(params=FAMILIES)
def family(request):
    return request.param


@pytest.mark.parametrize("edit", STOCK)
def test_stock_shapes_load_with_transformers_alone(family, edit, tmp_path):
    model = several_groups(family)
    edit(model)
    save_model(model, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.py"))
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert type(again) is type(model.hf)
    assert torch.equal(logits(again), logits(model.hf))
    assert torch.equal(continued(again, cache=True), continued(model.hf, cache=True))


def accepts(family, **numbers):
    try:
        tiny_config(family, **numbers)
    except Exception:
        return False
    return True


@pytest.mark.parametrize(
    ("family", "overrides", "stock"),
    [
        ("llama", {}, True),  # 2 of 4 heads are left
        ("llama", {"num_key_value_heads": 4}, accepts("llama", num_attention_heads=3)),  # 32 / 3
        ("mistral", {}, True),  # 3 heads, and Mistral does not mind
        ("qwen2", {}, True),
        ("qwen3", {}, True),
        ("gemma3", {}, True),
        ("gemma3", {"num_key_value_heads": 4}, accepts("gemma3", num_attention_heads=3)),
        ("opt", {}, False),  # derives the head size
    ],
)
def test_uniform_heads_are_stock_where_the_family_allows(family, overrides, stock, tmp_path):
    """Recent releases of Llama and Gemma 3 require that heads divide the width."""
    model = several_groups(family, **overrides)
    uniform_heads(model)
    save_model(model, tmp_path / "out")
    assert bool(list((tmp_path / "out").glob("*.py"))) is not stock
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "out", trust_remote_code=not stock)
    assert torch.equal(logits(again), logits(model.hf))
    assert torch.equal(continued(again, cache=True), continued(model.hf, cache=False))


@pytest.mark.parametrize("edit", [*STOCK, uniform_heads, *CUSTOM, only_biases])
def test_load_checkpoint_restores_the_model(family, edit, tmp_path):
    model = several_groups(family)
    edit(model)
    save_model(model, tmp_path / "out")
    again = LanguageModel(load_checkpoint(tmp_path / "out"))
    assert torch.equal(logits(again.hf), logits(model.hf))
    continuations = [
        continued(m.hf, cache=cache) for m in (model, again) for cache in (True, False)
    ]
    assert all(torch.equal(continuations[0], other) for other in continuations[1:])
    for block, old in zip(again.blocks, model.blocks, strict=True):
        for name in ("heads", "kv_heads", "group", "head_size"):
            assert getattr(block.attention, name) == getattr(old.attention, name)
        assert block.feed_forward.channels == old.feed_forward.channels
        assert block.module.self_attn.layer_idx == block.index
    assert again.config.num_hidden_layers == len(model.blocks)
    assert not again.hf.training


OUTSIDE = """
import sys
sys.path.append({packages!r})
import importlib.util
assert importlib.util.find_spec("implementations") is None, "this must run without us"
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
ids = torch.load({ids!r})
for folder in sys.argv[1:]:
    for flag in ({{}}, {{"trust_remote_code": True}}):
        try:
            model = AutoModelForCausalLM.from_pretrained(folder, **flag)
        except RuntimeError as error:
            assert not flag and "size" in str(error) and "mismatch" in str(error), error
            print("refused")
    again = folder + "-again"
    model.save_pretrained(again)
    for model in (model, AutoModelForCausalLM.from_pretrained(again, trust_remote_code=True)):
        with torch.no_grad():
            assert torch.equal(model(ids).logits, torch.load(folder + ".logits"))
        tokens = [
            model.generate(ids, max_new_tokens=16, min_new_tokens=16, do_sample=False, use_cache=c)
            for c in (True, False)
        ]
        assert torch.equal(*tokens) and torch.equal(tokens[0], torch.load(folder + ".tokens"))
"""


def isolated(script, *arguments, cwd, **options):
    """Run Python without site packages and paths, so that this repository cannot be imported."""
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", script, *map(str, arguments)],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "HF_HOME": str(cwd / "hf"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        **options,
    )


@pytest.mark.full
def test_custom_shapes_load_without_this_package(tmp_path):
    folders = []
    for family in FAMILIES:
        for edit in CUSTOM:
            model = several_groups(family)
            edit(model)
            folder = tmp_path / f"{family}-{edit.__name__}"
            save_model(model, folder)
            assert (folder / "modeling_pruned.py").is_file()
            torch.save(logits(model.hf), f"{folder}.logits")
            torch.save(continued(model.hf, cache=True), f"{folder}.tokens")
            folders.append(folder)
    torch.save(IDS, tmp_path / "ids")
    script = OUTSIDE.format(packages=str(PACKAGES), ids=str(tmp_path / "ids"))
    result = isolated(script, *folders, cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-3000:]
    # Without the flag, transformers builds the stock class and raises because the sizes differ.
    assert result.stdout.count("refused") == len(folders)
    again = load_checkpoint(f"{folders[0]}-again")
    assert torch.equal(logits(again), torch.load(f"{folders[0]}.logits"))


@pytest.mark.parametrize("edit", [fewer_blocks, uneven])
def test_reloaded_model_can_be_saved_again(family, edit, tmp_path):
    model = several_groups(family)
    edit(model)
    save_model(model, tmp_path / "1")
    reloaded = load_checkpoint(tmp_path / "1")
    reloaded.save_pretrained(tmp_path / "2", max_shard_size="20KB")  # transformers' own
    assert len(list((tmp_path / "2").glob("*.safetensors"))) > 1
    twice = load_checkpoint(tmp_path / "2")
    save_model(LanguageModel(twice), tmp_path / "3")  # ours
    for folder in "23":
        again = load_checkpoint(tmp_path / folder)
        assert torch.equal(logits(again), logits(model.hf))


def test_reloaded_model_can_be_pruned_further(family, tmp_path):
    model = several_groups(family)
    uneven(model)
    save_model(model, tmp_path / "1")
    again = LanguageModel(load_checkpoint(tmp_path / "1"))
    remove_blocks(again, [0])
    assert len(again.config.pruned_shapes) == 2
    keep_channels(again.blocks[0].feed_forward, [0, 2])
    save_model(again, tmp_path / "2")
    assert torch.equal(logits(load_checkpoint(tmp_path / "2")), logits(again.hf))
    remove_blocks(again, [1])  # one block is left, which is uniform
    save_model(again, tmp_path / "3")
    last = load_checkpoint(tmp_path / "3")
    assert torch.equal(logits(last), logits(again.hf))


def test_checkpoint_that_became_uniform_is_stock(tmp_path):
    model = several_groups("llama")
    keep_channels(model.blocks[0].feed_forward, range(8))
    save_model(model, tmp_path / "1")
    again = LanguageModel(load_checkpoint(tmp_path / "1"))
    remove_blocks(again, [0])
    save_model(again, tmp_path / "2")
    config = json.loads((tmp_path / "2" / "config.json").read_text())
    assert not {"pruned_shapes", "auto_map"} & set(config)
    assert config["architectures"] == ["LlamaForCausalLM"]
    stock = AutoModelForCausalLM.from_pretrained(tmp_path / "2")
    assert torch.equal(logits(stock), logits(again.hf))


@pytest.mark.parametrize("edit", [fewer_blocks, uneven])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_keeps_dtype(edit, dtype, tmp_path):
    save_model(several_groups("gemma3", dtype=dtype), tmp_path / "dense")
    model = LanguageModel(load_checkpoint(tmp_path / "dense"))
    edit(model)
    save_model(model, tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["dtype"] == str(dtype).removeprefix("torch.")
    again = load_checkpoint(tmp_path / "out")
    assert {parameter.dtype for parameter in again.parameters()} == {dtype}
    assert torch.equal(logits(again), logits(model.hf))
    assert load_checkpoint(tmp_path / "out", dtype="float32").dtype == torch.float32


@pytest.mark.parametrize("edit", [fewer_blocks, uneven])
@pytest.mark.parametrize("family", ["llama", "gemma3", "opt", "mistral"])
def test_tied_embeddings_stay_tied_and_are_stored_once(family, edit, tmp_path):
    model = several_groups(family)
    edit(model)
    tied = model.hf.get_output_embeddings().weight is model.hf.get_input_embeddings().weight
    assert tied is (family != "mistral")
    save_model(model, tmp_path / "out")
    stored = load_file(tmp_path / "out" / "model.safetensors")
    assert sum("embed_tokens" in name or "lm_head" in name for name in stored) == 2 - tied
    again = load_checkpoint(tmp_path / "out")
    same = again.get_output_embeddings().weight is again.get_input_embeddings().weight
    assert same is tied


def test_saving_does_not_change_the_model(tmp_path):
    model = several_groups("qwen2")
    uneven(model)
    before = model.config.to_dict(), logits(model.hf), type(model.hf)
    save_model(model, tmp_path / "out")
    assert model.config.to_dict() == before[0]
    assert torch.equal(logits(model.hf), before[1])
    assert type(model.hf) is before[2]
    assert not any(tensor.is_meta for tensor in model.hf.state_dict().values())


def test_saves_generation_settings_even_if_contradictory(tmp_path):
    model = tiny_model()
    model.hf.generation_config.temperature = 0.6  # without do_sample, as in well-known checkpoints
    model.hf.generation_config.max_new_tokens = 7
    save_model(model, tmp_path / "out")
    again = load_checkpoint(tmp_path / "out").generation_config
    assert (again.temperature, again.max_new_tokens) == (0.6, 7)


@pytest.mark.parametrize("edit", [fewer_blocks, uneven])
def test_model_card_has_the_record_and_explains_loading(edit, tmp_path):
    custom = edit is uneven
    model = several_groups("llama")
    model.name = "smollm2-135m" if custom else "org/name"
    edit(model)
    record = {
        "method": "flap",
        "sample": "text with a fence:\n```\ncode\n```",
        "värde": [1.5, None],
    }
    save_model(model, tmp_path / "out", record=record)
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    _, front, body = card.split("---\n", 2)
    assert yaml.safe_load(front) == {
        "base_model": "HuggingFaceTB/SmolLM2-135M-Instruct" if custom else "org/name",
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["pruning", "pruning-atlas", "flap"],
    }
    assert json.loads(body.split("````json\n")[1].split("\n````")[0]) == record
    assert ("from_pretrained(folder, trust_remote_code=True)" in body) is custom
    assert ("Without the flag" in body) is custom
    assert ("no custom code is needed" in body) is not custom
    assert "from pruning_atlas import load_model" in body
    assert "| 0 | 0 | 0 | 10 |" in body if custom else "| 1 | 4 | 2 | 48 |" in body


def test_fills_empty_folder_readable_by_others(tmp_path):
    (tmp_path / "out").mkdir()
    mask = os.umask(0o022)
    try:
        save_model(tiny_model(), tmp_path / "out")
        save_model(tiny_model(), tmp_path / "deep" / "below" / "out")
    finally:
        os.umask(mask)
    assert (tmp_path / "out" / "config.json").is_file()
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o755
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "out").iterdir()} == {0o644}
    assert listed(tmp_path) == ["deep", "out"]
    assert listed(tmp_path / "deep" / "below") == ["out"]


def test_full_disk_leaves_nothing_behind(tmp_path):
    """A limit on the size of files fails in the same way as a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))  # the weights: 80,000
    try:
        with pytest.raises(Unavailable, match=r"out could not be written: .*free some space"):
            save_model(tiny_model(), tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert listed(tmp_path) == []


def test_interruption_leaves_nothing_behind(tmp_path, monkeypatch):
    model = tiny_model()

    class Interrupting:
        def save_pretrained(self, folder):
            assert (folder / "model.safetensors").is_file(), "half of it is written"
            raise KeyboardInterrupt

    model.tokenizer = Interrupting()
    with pytest.raises(KeyboardInterrupt):
        save_model(model, tmp_path / "out")
    assert listed(tmp_path) == []


def test_refuses_model_without_weights(tmp_path):
    model = tiny_model()
    for block in model.blocks:
        keep_kv_groups(block.attention, [])
        keep_channels(block.feed_forward, [])
    with pytest.raises(BadInput, match="would empty the model"):
        save_model(model, tmp_path / "out")
    assert listed(tmp_path) == []


def test_refuses_shapes_that_no_checkpoint_can_express(tmp_path):
    model = tiny_model()
    model.blocks[0].module.mlp.gate_proj = torch.nn.Linear(32, 7, bias=False)
    with pytest.raises(BadInput, match="shapes that no checkpoint can express"):
        save_model(model, tmp_path / "out")
    assert listed(tmp_path) == []


def test_saves_large_models_in_several_files(tmp_path, monkeypatch):
    monkeypatch.setattr(saving, "SHARD", "20KB")
    model = several_groups("llama")
    save_model(model, tmp_path / "out")
    assert len(list((tmp_path / "out").glob("model-*.safetensors"))) > 1
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert torch.equal(logits(again), logits(model.hf))
    assert torch.equal(logits(load_checkpoint(tmp_path / "out")), logits(model.hf))


def test_modeling_pruned_imports_only_torch_and_transformers():
    source = Path(modeling_pruned.__file__).read_text()
    imported = re.findall(r"^\s*(?:from|import) (\w+)", source, re.MULTILINE)
    assert set(imported) == {"__future__", "functools", "typing", "torch", "transformers"}
    assert not re.search("from transformers", source), "older releases lack some names"


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_uneven_models_on_an_accelerator(family, dtype, tmp_path):
    model = several_groups(family)
    save_model(model, tmp_path / "dense")
    device = torch.accelerator.current_accelerator()
    there = LanguageModel(load_checkpoint(tmp_path / "dense", dtype=dtype, device=device))
    uneven(there)
    uneven(model)
    assert {parameter.device.type for parameter in there.hf.parameters()} == {device.type}
    with torch.no_grad():
        got = there.hf(IDS.to(device), use_cache=False).logits
    close = 1e-3 if dtype == "float32" else 0.3
    torch.testing.assert_close(got.float().cpu(), logits(model.hf), rtol=close, atol=close)
    save_model(there, tmp_path / "out")
    again = load_checkpoint(tmp_path / "out", device=device)
    with torch.no_grad():
        assert torch.equal(again(IDS.to(device), use_cache=False).logits, got)
