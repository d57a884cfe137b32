"""Files for llama.cpp: the same tokens as transformers, refusals, and complete files or none."""

import errno
import random
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter
from gguf.quants import dequantize
from tokenizers import (
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast
from typer.testing import CliRunner

from implementations.harness.cli.commands import app
from implementations.harness.contract.tiny import random_tokens, tiny_model
from implementations.harness.data.tokens import Tokens
from implementations.harness.errors import BadInput, Unavailable
from implementations.harness.model import gguf_export
from implementations.harness.model.gguf_export import export_gguf
from implementations.harness.model.gguf_tokenizer import SPLITS
from implementations.harness.model.hidden_width import keep_hidden
from implementations.harness.model.loading import load_model
from implementations.harness.model.saving import save_model
from implementations.harness.model.surgery import (
    add_bias,
    keep_channels,
    keep_kv_groups,
    keep_units,
)
from implementations.harness.model.view import FAMILIES, LanguageModel
from implementations.harness.prune.registry import get_method
from tests.conftest import WORDS, byte_tokenizer
from tests.harness.model import llama_cpp

BYTE_LEVEL = pre_tokenizers.ByteLevel(add_prefix_space=False)
BARE_BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
WORDS_ONLY = " ".join(random.Random(0).choices(WORDS, k=500))
TEXT = WORDS_ONLY + " DON'T don't 7 12 12345\n\n\tif x:\n    y = 'Ünïcödé 漢字'  \n"
BYTES = sorted(pre_tokenizers.ByteLevel.alphabet())


def bpe_tokenizer(split=BYTE_LEVEL, *, bos=False, text=TEXT, alphabet=BYTES):
    """Return a byte-level BPE tokenizer trained on `text`."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer, raw.decoder = split, decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=alphabet,
        show_progress=False,
    )
    raw.train_from_iterator([text], trainer)
    if bos:
        raw.post_processor = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 0)]
        )
    return PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="</s>")


def model(family="llama", blocks=3, **overrides):
    """Return a tiny random model with a tokenizer and more embeddings than tokens."""
    # llama.cpp gives no probabilities of tokens that are incomplete characters.
    tokenizer = bpe_tokenizer(text=WORDS_ONLY, alphabet=[c for c in BYTES if c.isascii()])
    tiny = tiny_model(family, blocks=blocks, vocab_size=len(tokenizer) + 8, **overrides)
    return LanguageModel(tiny.hf, tokenizer, name="tiny")


def calibration(pruned):
    return random_tokens(8, 24, vocabulary=pruned.vocabulary_size)


def bias(linear):
    generator = torch.Generator().manual_seed(0)
    add_bias(linear, torch.randn(len(linear.weight), generator=generator))


def by_method(slug, **settings):
    def prune(pruned):
        get_method(slug)(**settings).apply(pruned, calibration(pruned))

    return prune


def headless(index, *, biased=False):
    def prune(pruned):
        attention = pruned.blocks[index].attention
        keep_kv_groups(attention, [])
        if biased:
            bias(attention.o)

    return prune


def without_channels(pruned):
    keep_channels(pruned.blocks[1].feed_forward, [])
    bias(pruned.blocks[1].feed_forward.down)
    keep_channels(pruned.blocks[2].feed_forward, [])


def emptied(index):
    def prune(pruned):
        keep_units(pruned.blocks[index], "sublayers", [])

    return prune


def different_widths(pruned):
    keep_kv_groups(pruned.blocks[0].attention, [1])
    keep_channels(pruned.blocks[1].feed_forward, range(7))


def narrow(pruned):
    keep_hidden(pruned, range(24))


def every_bias(pruned):
    for block in pruned.blocks:
        for linear in block.linears().values():
            bias(linear)


class Case(NamedTuple):
    """A way to prune a tiny model, and the architecture of the file."""

    prune: Callable[[LanguageModel], None]
    architecture: str
    model: dict[str, object] | None = None


CASES = {
    "dense": Case(lambda pruned: None, "llama"),
    "wanda": Case(by_method("wanda", sparsity=0.5), "llama"),
    "flap": Case(by_method("flap", sparsity=0.2, compensate=False), "deci", {"blocks": 4}),
    "flap with biases": Case(by_method("flap", sparsity=0.2), "deci", {"blocks": 4}),
    "shortgpt": Case(by_method("shortgpt", sparsity=0.25), "llama", {"blocks": 4}),
    "different widths": Case(different_widths, "deci"),
    "a smaller hidden size": Case(narrow, "llama"),
    "biases": Case(every_bias, "llama"),
    "no heads": Case(headless(1), "deci"),
    "no heads, bias": Case(headless(1, biased=True), "deci"),
    "no heads in the first block": Case(headless(0), "deci"),
    "no heads in the last block": Case(headless(2), "deci"),
    "no channels": Case(without_channels, "deci"),
    "an empty block": Case(emptied(0), "llama"),
    "an empty last block": Case(emptied(2), "llama"),
    "an own head": Case(lambda pruned: None, "llama", {"tie_word_embeddings": False}),
    "wide heads": Case(different_widths, "deci", {"head_dim": 16}),
    "Llama 3 frequencies": Case(
        different_widths,
        "deci",
        {
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 100.0,
                "factor": 4.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64,
            }
        },
    ),
    "mistral": Case(different_widths, "deci", {"family": "mistral", "sliding_window": 100}),
    "qwen2": Case(different_widths, "deci", {"family": "qwen2"}),
    "qwen2 without heads": Case(headless(0), "deci", {"family": "qwen2"}),
}


class Continuation(NamedTuple):
    """Token ids, their log probabilities, and the smallest distance to a second-best token."""

    ids: list[int]
    logprobs: list[float]
    gap: float


def continued(pruned, prompts, tokens):
    """Continue `prompts [batch, length]` greedily in transformers."""
    every, best = prompts, []
    for _ in range(tokens):
        with torch.no_grad():
            logits = pruned.hf(every, use_cache=False).logits[:, -1]
        best.append(logits.log_softmax(1).topk(2))
        every = torch.cat((every, best[-1].indices[:, :1]), dim=1)
    values = torch.stack([top.values for top in best], dim=1)  # [batch, tokens, 2]
    gaps = (values[..., 0] - values[..., 1]).amin(dim=1)
    return [
        Continuation(ids[len(prompts[0]) :].tolist(), logprobs.tolist(), float(gap))
        for ids, logprobs, gap in zip(every, values[..., 0], gaps, strict=True)
    ]


@pytest.mark.full
@pytest.mark.parametrize("name", CASES)
def test_llama_cpp_generates_the_tokens_of_transformers(name, tmp_path):
    case = CASES[name]
    pruned = model(**case.model or {})
    case.prune(pruned)
    path = tmp_path / "model.gguf"
    export_gguf(pruned, path)
    assert architecture(path) == case.architecture
    assert_same_tokens(pruned, path, calibration(pruned).ids[:, :8])


def architecture(path):
    return GGUFReader(path).fields["general.architecture"].contents()


def assert_same_tokens(pruned, path, prompts, tolerance=0.02):
    """Compare 32 greedy tokens and their log probabilities.

    llama.cpp computes in float16, which can swap two tokens that are almost equally probable. So
    this compares the prompt whose tokens are the furthest from that.
    """
    choices = continued(pruned, prompts, 32)
    expected, prompt = max(zip(choices, prompts.tolist(), strict=True), key=lambda one: one[0].gap)
    ids, logprobs = llama_cpp.generate(path, prompt, 32)
    assert ids == expected.ids, f"the smallest gap to the second token is {expected.gap:.4f}"
    assert logprobs == pytest.approx(expected.logprobs, abs=tolerance)


@pytest.mark.full
@pytest.mark.parametrize("type", ["bf16", "q8_0"])
def test_other_types_give_similar_probabilities(type, tmp_path):
    """Random models have near ties, so only the first token is compared."""
    pruned = model(hidden_size=64, num_attention_heads=8)
    different_widths(pruned)
    path = tmp_path / "model.gguf"
    export_gguf(pruned, path, type=type)
    prompt = calibration(pruned).ids[:1, :8]
    [expected] = continued(pruned, prompt, 1)
    ids, logprobs = llama_cpp.generate(path, prompt[0].tolist(), 1)
    assert ids == expected.ids
    assert logprobs == pytest.approx(expected.logprobs, abs=0.1)


@pytest.mark.parametrize("type", gguf_export.TYPES)
def test_file_holds_the_weights_in_the_type(type, tmp_path):
    pruned = model()
    without_channels(pruned)
    keep_channels(pruned.blocks[0].feed_forward, range(7))
    path = tmp_path / "model.gguf"
    export_gguf(pruned, path, type=type)
    tensors = {tensor.name: tensor for tensor in GGUFReader(path).tensors}
    kind, _ = gguf_export.TYPES[type]
    assert {tensors[f"blk.1.{name}.weight"].tensor_type for name in ("attn_q", "ffn_up")} == {kind}
    assert tensors["blk.1.attn_norm.weight"].tensor_type == GGMLQuantizationType.F32
    down = tensors["blk.0.ffn_down.weight"]
    stored = torch.from_numpy(dequantize(down.data, down.tensor_type)).view(32, -1)
    expected = pruned.blocks[0].feed_forward.down.weight
    assert stored.shape[1] == (32 if type == "q8_0" else 7)
    assert torch.allclose(stored[:, :7], expected, atol=0.02)
    assert not stored[:, 7:].any()


def test_file_is_written_from_the_dtype_on_disk(tmp_path):
    pruned = model(dtype=torch.bfloat16)
    save_model(pruned, tmp_path / "folder")
    export_gguf(tmp_path / "folder", tmp_path / "folder.gguf", type="bf16")
    export_gguf(pruned, tmp_path / "memory.gguf", type="bf16")
    contents = [
        {tensor.name: tensor.data.tobytes() for tensor in GGUFReader(path).tensors}
        for path in (tmp_path / "folder.gguf", tmp_path / "memory.gguf")
    ]
    assert contents[0] == contents[1]


def split(pattern):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), BARE_BYTES])


TOKENIZERS = {
    "gpt-2": BYTE_LEVEL,
    "smollm": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), BYTE_LEVEL]),
    **{
        name: split(rules[0])
        for rules, name in SPLITS.items()
        if name in ("llama-bpe", "qwen2", "tekken")
    },
}


@pytest.mark.full
@pytest.mark.parametrize("bos", [False, True])
@pytest.mark.parametrize("name", TOKENIZERS)
def test_llama_cpp_splits_text_like_the_tokenizer(name, bos, tmp_path):
    tokenizer = bpe_tokenizer(TOKENIZERS[name], bos=bos)
    tokenizer.add_tokens(["<tool>"])
    tiny = tiny_model(vocab_size=len(tokenizer))
    path = tmp_path / "model.gguf"
    export_gguf(LanguageModel(tiny.hf, tokenizer), path)
    assert GGUFReader(path).fields["tokenizer.ggml.pre"].contents() == name
    text = f"{TEXT}<tool> river</s>{' '.join(reversed(TEXT.split(' ')))}"
    assert llama_cpp.tokenize(path, text) == tokenizer(text).input_ids


def test_chat_template_and_special_tokens_are_kept(tmp_path):
    pruned = model()
    pruned.tokenizer.chat_template = "{{ messages }}"
    export_gguf(pruned, tmp_path / "model.gguf")
    fields = GGUFReader(tmp_path / "model.gguf").fields
    assert fields["tokenizer.chat_template"].contents() == "{{ messages }}"
    assert fields["tokenizer.ggml.eos_token_id"].contents() == pruned.tokenizer.eos_token_id
    assert fields["tokenizer.ggml.token_type"].contents()[:3] == [3, 3, 1]
    assert fields["tokenizer.ggml.token_type"].contents()[-1] == 5


def test_context_ends_at_the_sliding_window(tmp_path):
    export_gguf(model("mistral", sliding_window=16), tmp_path / "model.gguf")
    fields = GGUFReader(tmp_path / "model.gguf").fields
    assert fields["llama.context_length"].contents() == 16


def rotated(slug, **settings):
    return lambda pruned: get_method(slug)(**settings).apply(pruned, calibration(pruned))


def indexed(kind):
    def prune(pruned):
        keep_units(pruned.blocks[1], kind, range(3))

    return prune


def with_tokenizer(tokenizer):
    def change(pruned):
        pruned.tokenizer = tokenizer

    return change


def normalised():
    tokenizer = bpe_tokenizer()
    tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    return tokenizer


def ends_with(token):
    tokenizer = bpe_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {token}", special_tokens=[(token, tokenizer.convert_tokens_to_ids(token))]
    )
    return tokenizer


def word_pieces():
    raw = Tokenizer(models.WordPiece({"[UNK]": 0}, unk_token="[UNK]"))
    return PreTrainedTokenizerFast(tokenizer_object=raw)


def set_rope(**entries):
    def change(pruned):
        pruned.config.rope_parameters |= entries

    return change


REFUSALS = {
    "shortcuts": (rotated("slicegpt"), "block 0 has matrices that rotate the residual stream"),
    "rotations": (rotated("denoiserotator", steps=0), "block 0 has matrices that rotate"),
    "indexed rows": (indexed("rotary-pairs"), "block 1 lacks some rows of q, as after KVPruner"),
    "indexed columns": (indexed("attention-inputs"), "block 1 lacks some columns of q"),
    "yarn": (set_rope(rope_type="yarn"), "rotary embeddings of type 'yarn'"),
    "partial rotation": (set_rope(partial_rotary_factor=0.5), "over whole heads"),
    "no tokenizer": (with_tokenizer(None), "the model has none"),
    "no merges": (with_tokenizer(byte_tokenizer()), "it has no merges"),
    "normalizer": (with_tokenizer(normalised()), "Lowercase"),
    "word pieces": (with_tokenizer(word_pieces()), "not byte-level BPE"),
    "other splits": (with_tokenizer(bpe_tokenizer(split("x"))), 'pre-tokenizer .*"x"'),
    "other special token": (with_tokenizer(ends_with("<s>")), "adds other tokens"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_llama_cpp_cannot_express_is_refused(name, tmp_path):
    change, message = REFUSALS[name]
    pruned = model()
    change(pruned)
    with pytest.raises(BadInput, match=message):
        export_gguf(pruned, tmp_path / "model.gguf")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("family", gguf_export.REASONS)
def test_other_families_are_refused_before_the_weights_are_read(family, tmp_path, monkeypatch):
    name = FAMILIES[family].name
    save_model(tiny_model(name), tmp_path / "folder")
    monkeypatch.setattr(gguf_export, "load_checkpoint", None)
    with pytest.raises(BadInput, match=f"{name} models cannot be exported"):
        export_gguf(tmp_path / "folder", tmp_path / "model.gguf")


def test_every_family_is_exported_or_has_a_reason():
    assert {*gguf_export.EXPORTED, *gguf_export.REASONS} == {*FAMILIES}


def test_values_too_large_for_float16_are_refused(tmp_path):
    pruned = model()
    pruned.blocks[1].feed_forward.up.weight.data[0, 0] = 1e5
    with pytest.raises(BadInput, match=r"blk.1.ffn_up.weight has NaN, or values too large for f16"):
        export_gguf(pruned, tmp_path / "model.gguf")
    assert not any(tmp_path.iterdir())
    export_gguf(pruned, tmp_path / "model.gguf", type="bf16")


def test_full_disk_leaves_no_file(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(GGUFWriter, "write_tensor_data", full)
    with pytest.raises(Unavailable, match=r"model.gguf could not be written: No space left"):
        export_gguf(model(), tmp_path / "model.gguf")
    assert not any(tmp_path.iterdir())


def invoke(*arguments):
    return CliRunner().invoke(app, ["export-gguf", *map(str, arguments)])


def test_command_writes_the_file_and_prints_its_path(tmp_path):
    save_model(model(), tmp_path / "folder")
    done = invoke(tmp_path / "folder", tmp_path / "model.gguf", "--type", "q8_0")
    assert done.exit_code == 0, done.stderr
    assert done.stdout == f"gguf: {tmp_path / 'model.gguf'}\n"
    assert architecture(tmp_path / "model.gguf") == "llama"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("model.bin", [], "does not end in .gguf"),
        ("model.gguf", ["--type", "q4_0"], "unknown type 'q4_0'; did you mean 'q8_0'?"),
        ("there.gguf", [], "there.gguf exists"),
    ],
)
def test_invalid_output_is_refused_before_the_model_is_looked_up(name, options, message, tmp_path):
    (tmp_path / "there.gguf").touch()
    refused = invoke(tmp_path / "nothing", tmp_path / name, *options)
    assert refused.exit_code == 2
    assert message in refused.stderr
    assert not (tmp_path / "there.gguf").read_bytes()


@pytest.mark.full
@pytest.mark.model
def test_a_pruned_smollm2_gives_the_same_tokens(tmp_path):
    pruned = load_model("smollm2-135m")
    text = "The history of the city begins with a river and a bridge of stone. " * 40
    ids = pruned.tokenizer(text, return_tensors="pt").input_ids[:, :512].view(4, 128)
    get_method("flap")(sparsity=0.2).apply(pruned, Tokens.from_ids(ids, "text"))
    save_model(pruned, tmp_path / "folder")
    done = invoke(tmp_path / "folder", tmp_path / "model.gguf")
    assert done.exit_code == 0, done.stderr
    assert architecture(tmp_path / "model.gguf") == "deci"
    assert_same_tokens(pruned, tmp_path / "model.gguf", ids[:, :8], tolerance=0.05)
