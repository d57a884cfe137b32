"""Any content of a model folder becomes a model that computes or one sentence, and never runs."""

from __future__ import annotations

import io
import json
import os
import shutil
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import GenerationConfig, PreTrainedTokenizerFast

from implementations.harness.contract.tiny import MODEL_TYPES, random_tokens, tiny_model
from implementations.harness.measure.generation import continuation
from implementations.harness.model.checkpoint import save
from implementations.harness.model.configuration import KERNELS, UNSUPPORTED, stock_class
from implementations.harness.model.loading import load_model
from implementations.harness.model.surgery import keep_channels, keep_kv_groups
from implementations.harness.model.view import LanguageModel
from tests.conftest import byte_tokenizer
from tests.fuzz.foreign import ODD, changed, damaged, everything, fuzz, value_or_refusal

VOCABULARY = 300
IDS = random_tokens(2, 12, vocabulary=VOCABULARY).ids
UNEVEN = ("llama", "opt")  # these lie there in shapes of their own as well
CODE = (
    "from pathlib import Path\nPath({!r}).touch()\nclass Model: pass\nConfig = Tokenizer = Model\n"
)
AUTO_MAP = {
    "AutoConfig": "evil.Config",
    "AutoModelForCausalLM": "evil.Model",
    "AutoTokenizer": ["evil.Tokenizer", "evil.Tokenizer"],
}
NO_FLOAT = "1e999"  # JSON allows it; json.dumps cannot write it


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model folder of every family; all of them are loaded once, for the memory that it takes."""
    folders = {}
    for name in (*MODEL_TYPES, *(f"uneven {family}" for family in UNEVEN)):
        model = tiny_model(name.removeprefix("uneven "), vocab_size=VOCABULARY)
        model.tokenizer = byte_tokenizer()
        if name.startswith("uneven"):
            keep_channels(model.blocks[0].feed_forward, range(7))
            keep_kv_groups(model.blocks[1].attention, [])
        folders[name] = tmp_path_factory.mktemp("whole") / "model"
        save(model, folders[name])
        load_model(folders[name]).hf(IDS)
    return folders


@pytest.fixture
def around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that holds the model folder of an example, without a way to the hub."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "around"


def laid(around: Path, folder: Path) -> Path:
    """Lay a copy of a model folder there, with code in it that leaves a trace when it is run."""
    shutil.rmtree(around, ignore_errors=True)
    shutil.copytree(folder, around / "model")
    for name in ("evil.py", "modeling_pruned.py", "sitecustomize.py"):
        (around / "model" / name).write_text(CODE.format(str(around / "ran")))
    return around / "model"


def judge(around: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Load what lies there: a model computes and writes, or a sentence says why not."""
    before, known = everything(around), set(sys.modules)
    capfd.readouterr()
    found = value_or_refusal(lambda: load_model(around / "model"))
    if isinstance(found, LanguageModel):
        with torch.no_grad():
            assert found.hf(IDS).logits.shape == (*IDS.shape, found.vocabulary_size)
        value_or_refusal(lambda: continuation(found, "A few words.", 2))
    else:
        assert str(found).isprintable()
    assert everything(around) == before
    assert not [name for name in set(sys.modules) - known if "evil" in name]
    said = "".join(capfd.readouterr())
    assert "Traceback" not in said
    assert "\x1b" not in said


def write(path: Path, content: Any) -> None:
    """Write JSON as `json` does, NaN and a number beyond all floats included."""
    path.write_text(json.dumps(content).replace(f'"{NO_FLOAT}"', NO_FLOAT))


# Settings.

NESTED = st.integers(1, 60).map(lambda depth: json.loads("[" * depth + "]" * depth))
KINDS = ("full_attention", "sliding_attention", "chunked_attention")
WORDS = st.sampled_from(
    [
        *("llama", "opt", "float16", "bfloat16", "int8", "float8_e4m3fn", "eager", "sdpa", "flex"),
        *(*KINDS, "relu", "gelu_new", "none"),
        *("evil.Model", "evil.py", "model", "auto", "cpu", "meta", "static", "quantized", NO_FLOAT),
        *("x" * 100_000, "</s>", "Tokenizer", "LlamaTokenizer", "BertTokenizerFast", "fast"),
    ]
)
NUMBERS = st.sampled_from([0, 1, 2, 3, 4, 8, 16, 32, 48, 96, 128, 300, 10**6, 10**9, 2**31 - 1])
VALUES = ODD | WORDS | NUMBERS | NESTED | st.floats() | st.integers() | st.just(AUTO_MAP)
ROPE = st.fixed_dictionaries(
    {"rope_type": st.sampled_from(["default", "linear", "dynamic", "yarn", "longrope", "llama3"])},
    optional={
        name: VALUES | st.lists(st.floats(0.5, 4), min_size=4, max_size=4)
        for name in (
            *("rope_theta", "factor", "partial_rotary_factor", "attention_factor", "truncate"),
            *("original_max_position_embeddings", "beta_fast", "beta_slow", "mscale"),
            *("short_factor", "long_factor", "low_freq_factor", "high_freq_factor"),
        )
    },
)
SETTINGS = VALUES | ROPE | st.dictionaries(st.sampled_from(["0", "", "a"]) | WORDS, VALUES)
LEGACY = ("rope_scaling", "rope_theta", "torch_dtype", "auto_map", "num_labels", "pruned_heads")


def names(family: str) -> st.SearchStrategy[str]:
    """What may be called a setting: all that its class has, and anything."""
    kind = stock_class(MODEL_TYPES[family]).config_class
    own = {*dir(kind), *dir(GenerationConfig), *vars(GenerationConfig()), *vars(kind())}
    return st.sampled_from(sorted({*own, *UNSUPPORTED, *KERNELS, *LEGACY})) | st.text(max_size=9)


FAMILIES = st.sampled_from(list(MODEL_TYPES))


@fuzz
@given(data=st.data(), family=FAMILIES)
def test_any_settings(
    whole: dict[str, Path],
    around: Path,
    capfd: pytest.CaptureFixture[str],
    data: st.DataObject,
    family: str,
) -> None:
    folder = laid(around, whole[family])
    file = folder / data.draw(st.sampled_from(["config.json", "generation_config.json"]))
    content = json.loads(file.read_text())
    match data.draw(st.sampled_from(["more", "changed", "sizes", "positions"])):
        case "more":
            content |= data.draw(st.dictionaries(names(family), SETTINGS, min_size=1, max_size=3))
        case "changed":
            content = data.draw(changed(content, SETTINGS, names(family)))
        case "sizes":
            sized = sorted(name for name, held in content.items() if type(held) is int)
            content |= data.draw(st.dictionaries(st.sampled_from(sized), NUMBERS, max_size=3))
        case "positions":
            content[data.draw(st.sampled_from(["rope_parameters", "rope_scaling"]))] = data.draw(
                ROPE | st.dictionaries(st.sampled_from(KINDS), ROPE)
            )
    write(file, content)
    judge(around, capfd)


@fuzz
@given(data=st.data(), family=st.sampled_from(UNEVEN))
def test_any_shapes(
    whole: dict[str, Path],
    around: Path,
    capfd: pytest.CaptureFixture[str],
    data: st.DataObject,
    family: str,
) -> None:
    folder = laid(around, whole[f"uneven {family}"])
    content = json.loads((folder / "config.json").read_text())
    layers = st.sampled_from(["q_proj", "o_proj", "out_proj", "fc1", "down_proj"]).map(
        lambda n: [n]
    )
    content["pruned_shapes"] = data.draw(
        changed(content["pruned_shapes"], VALUES | layers, st.sampled_from(["heads", "depth"]))
    )
    if data.draw(st.booleans()):
        content = data.draw(changed(content, NUMBERS, names(family), most=1))
    write(folder / "config.json", content)
    judge(around, capfd)


# Weights.


@st.composite
def headed(draw: st.DrawFn, whole: bytes) -> bytes:
    """Bytes of a safetensors file with another header."""
    (size,) = struct.unpack("<Q", whole[:8])
    header = json.loads(whole[8 : 8 + size])
    dtypes = st.sampled_from(["F64", "F16", "BF16", "I8", "F4", "F8_E4M3", "BOOL", "C64", "U64"])
    offsets = st.lists(st.integers(0, len(whole)) | NUMBERS, min_size=2, max_size=2)
    shapes = st.lists(st.integers(0, 48) | NUMBERS, max_size=3)
    named = st.sampled_from(["__metadata__", "lm_head.weight", "score.weight", "x"])
    header = draw(changed(header, VALUES | dtypes | offsets | shapes, named))
    text = json.dumps(header).encode()
    length = draw(st.just(len(text)) | st.integers(0, 2**64 - 1) | st.integers(0, len(text)))
    return struct.pack("<Q", length) + text + whole[8 + size :]


def pickled(tensors: dict[str, torch.Tensor], zipped: bool) -> bytes:
    file = io.BytesIO()
    torch.save(tensors, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


@fuzz
@given(data=st.data(), name=st.sampled_from(["llama", "opt", "uneven llama"]))
def test_any_bytes_of_weights(
    whole: dict[str, Path],
    around: Path,
    capfd: pytest.CaptureFixture[str],
    data: st.DataObject,
    name: str,
) -> None:
    folder = laid(around, whole[name])
    file = folder / "model.safetensors"
    kind = data.draw(st.sampled_from(["header", "bytes", "pickle", "old pickle"]))
    if "pickle" in kind:
        content = pickled(load_file(file), zipped=kind == "pickle")
        file.unlink()
        file = folder / "pytorch_model.bin"
        # Of most bytes, which are numbers, nothing depends.
        start = data.draw(st.sampled_from([0, len(content) - 4000]))
        part = data.draw(damaged(content[start : start + 4000]))
        content = content[:start] + part + content[start + 4000 :]
    elif kind == "header":
        content = data.draw(headed(file.read_bytes()))
    else:
        content = data.draw(damaged(file.read_bytes()))
    file.write_bytes(content)
    judge(around, capfd)


PLACES = (
    *(
        "a.safetensors",
        "b.safetensors",
        "gone.safetensors",
        "folder.safetensors",
        "a.bin",
        "evil.py",
    ),
    *(
        "../a.safetensors",
        "/etc/passwd",
        "./a.safetensors",
        "folder/a.safetensors",
        "a\0.safetensors",
    ),
    *("../outside.safetensors", ".safetensors", "A.SAFETENSORS", "y" * 300 + ".safetensors"),
)


@fuzz
@given(data=st.data())
def test_any_index(
    whole: dict[str, Path], around: Path, capfd: pytest.CaptureFixture[str], data: st.DataObject
) -> None:
    folder = laid(around, whole["llama"])
    tensors = load_file(folder / "model.safetensors")
    shutil.move(folder / "model.safetensors", around / "outside.safetensors")
    (folder / "folder.safetensors").mkdir()
    cut = data.draw(st.integers(0, len(tensors)))
    shards = {"a.safetensors": sorted(tensors)[:cut], "b.safetensors": sorted(tensors)[cut:]}
    for shard, held in shards.items():
        save_file({name: tensors[name] for name in held}, folder / shard)
    right = {"weight_map": {name: shard for shard, held in shards.items() for name in held}}
    place = st.sampled_from(PLACES)
    index = data.draw(st.just(right) | changed(right, place | VALUES, place, most=2))
    write(folder / "model.safetensors.index.json", index)
    judge(around, capfd)


# Tokenizers.

LETTERS = "abcdefghijklmnopqrstuvwxyz. A"


def pieces() -> Tokenizer:
    """Words cut into pieces, put in lower case, and framed."""
    vocabulary = {word: i for i, word in enumerate(["[UNK]", "[CLS]", "[SEP]", *LETTERS, "##a"])}
    made = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    made.normalizer = normalizers.Sequence(
        [normalizers.BertNormalizer(), normalizers.NFKC(), normalizers.Replace("x", "y")]
    )
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.BertPreTokenizer(),
            pre_tokenizers.Digits(),
            pre_tokenizers.Split("b", "isolated"),
        ]
    )
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    made.decoder = decoders.WordPiece()
    made.enable_truncation(100)
    made.enable_padding(length=20)
    return made


def unigram() -> Tokenizer:
    """The most probable pieces, with a mark for a space and bytes for what is unknown."""
    scores = [("<unk>", 0.0), ("▁", -1.0), *((letter, -2.0) for letter in LETTERS)]
    made = Tokenizer(models.Unigram(scores, unk_id=0, byte_fallback=False))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.NFC()])
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return made


TOKENIZERS: dict[str, Callable[[], Tokenizer]] = {
    "bytes": lambda: byte_tokenizer().backend_tokenizer,
    "pieces": pieces,
    "unigram": unigram,
    "words": lambda: Tokenizer(models.WordLevel({"a": 0, "A few words.": 1}, unk_token="a")),
}


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The files of a tokenizer of each kind, of today and of old."""
    folders = {}
    for name, make in TOKENIZERS.items():
        folders[name] = tmp_path_factory.mktemp("tokenizer")
        words = PreTrainedTokenizerFast(
            tokenizer_object=make(), pad_token="<pad>", eos_token="</s>"
        )
        words.add_tokens(["<extra>"])
        words.save_pretrained(folders[name])
        write(folders[name] / "special_tokens_map.json", words.special_tokens_map)
        write(folders[name] / "added_tokens.json", words.get_added_vocab())
    vocabulary = {piece: i for i, piece in enumerate(["ab", *LETTERS])}
    for path in folders.values():
        write(path / "vocab.json", vocabulary)
    return folders


TOKENIZER_NAMES = st.sampled_from(
    [
        *("tokenizer_class", "auto_map", "vocab_file", "tokenizer_file", "added_tokens_decoder"),
        *("extra_special_tokens", "additional_special_tokens", "init_inputs", "chat_template"),
        *("add_bos_token", "add_prefix_space", "legacy", "model_max_length", "padding_side"),
        *("truncation_side", "fix_mistral_regex", "processor_class", "use_fast", "name_or_path"),
        *(name for name in dir(PreTrainedTokenizerFast)),
    ]
)


@fuzz
@given(data=st.data(), kind=st.sampled_from(list(TOKENIZERS)))
def test_any_tokenizer(
    whole: dict[str, Path],
    tokenizers: dict[str, Path],
    around: Path,
    capfd: pytest.CaptureFixture[str],
    data: st.DataObject,
    kind: str,
) -> None:
    folder = laid(around, whole[data.draw(FAMILIES)])
    shutil.copytree(tokenizers[kind], folder, dirs_exist_ok=True)
    files = ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"]
    file = folder / data.draw(st.sampled_from([*files, "added_tokens.json", "vocab.json"]))
    if file.name == "vocab.json" or data.draw(st.integers(0, 4)) == 0:
        (folder / "tokenizer.json").unlink()  # then the files of old are read
        merges = ["", "a b", "a", "b a", "a b\nab c", "\u2028 \u2028", "a b c"]
        (folder / "merges.txt").write_text(f"#version: 0.2\n{data.draw(st.sampled_from(merges))}")
        classes = ["GPT2Tokenizer", "LlamaTokenizer", "BertTokenizer", "Qwen2Tokenizer", "Evil"]
        write(folder / files[1], {"tokenizer_class": data.draw(st.sampled_from(classes))})
    if file.is_file():
        content = json.loads(file.read_text())
        if file.name == files[1] and data.draw(st.booleans()):
            content |= data.draw(st.dictionaries(TOKENIZER_NAMES, SETTINGS, max_size=3))
        write(file, data.draw(changed(content, SETTINGS, TOKENIZER_NAMES)))
    judge(around, capfd)


# What lies in the folder.

STATES: dict[str, Callable[[Path], object]] = {
    "nothing": lambda path: None,
    "empty": Path.touch,
    "no UTF-8": lambda path: path.write_bytes(b"\xff\xfe" * 50),
    "a mark first": lambda path: path.write_bytes(b"\xef\xbb\xbf{}"),
    "nulls": lambda path: path.write_bytes(bytes(5000)),
    "empty mapping": lambda path: path.write_text("{}"),
    "folder": Path.mkdir,
    "full folder": lambda path: (path.mkdir(), (path / "config.json").write_text("{}")),
    "pipe": os.mkfifo,
    "loop": lambda path: path.symlink_to(path),
    "dangling": lambda path: path.symlink_to(path.with_name("gone")),
    "endless": lambda path: path.symlink_to("/dev/zero"),
    "code": lambda path: path.write_text(CODE.format(str(path.parents[1] / "ran"))),
    "of code": lambda path: path.write_text(json.dumps({"auto_map": AUTO_MAP})),
    "unreadable": lambda path: path.touch(mode=0),
}
ENTRIES = (
    *("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"),
    *("special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "vocab.txt"),
    *("tokenizer.model", "tiktoken.model", "tekken.json", "spiece.model", "vocab.bpe"),
    *("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "evil.py"),
    *("pytorch_model.bin.index.json", "adapter_config.json", "adapter_model.safetensors"),
    *("chat_template.jinja", "chat_template.json", "additional_chat_templates", "__init__.py"),
    *(
        "processor_config.json",
        "preprocessor_config.json",
        "README.md",
        "model.gguf",
        "params.json",
    ),
    *(
        "tf_model.h5",
        "custom_generate",
        "config.4.0.0.json",
        "tokenizer.4.0.0.json",
        "a\nb\x1b[31m",
    ),
)


@fuzz
@given(
    family=FAMILIES,
    states=st.dictionaries(
        st.sampled_from(ENTRIES), st.sampled_from(sorted(STATES)), min_size=1, max_size=4
    ),
    auto=st.booleans(),
)
def test_any_entries(
    whole: dict[str, Path],
    around: Path,
    capfd: pytest.CaptureFixture[str],
    family: str,
    states: dict[str, str],
    auto: bool,
) -> None:
    folder = laid(around, whole[family])
    if auto:
        for name in ("config.json", "generation_config.json", "tokenizer_config.json"):
            held = json.loads((folder / name).read_text())
            write(folder / name, held | {"auto_map": AUTO_MAP, "trust_remote_code": True})
    for name, state in states.items():
        (folder / name).unlink(missing_ok=True)
        STATES[state](folder / name)
    judge(around, capfd)
