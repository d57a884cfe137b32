"""Write the tokenizer of a model into a GGUF file."""

from __future__ import annotations

import json
from typing import Any

from gguf import GGUFWriter, TokenType
from transformers import PreTrainedTokenizerFast

from implementations.harness.errors import BadInput, in_short
from implementations.harness.model.view import LanguageModel

CONVERTER = "convert_hf_to_gguf.py of llama.cpp"

BYTES = "byte-level regular expression"
DIGITS = "single digits"
# The rules by which tokenizer.json splits a text into words, with llama.cpp's name for them.
SPLITS = {
    (BYTES,): "gpt-2",
    (DIGITS, BYTES): "smollm",
    (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ): "llama-bpe",
    (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ): "qwen2",
    (  # llama.cpp does not split before a capital inside a word unless it is one of A to Z
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
        r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ): "tekken",
}


def add_tokenizer(writer: GGUFWriter, model: LanguageModel) -> None:
    """Add the tokenizer of `model`; raises `BadInput` unless it is byte-level BPE of a known kind.

    Llama 3, Mistral NeMo, Qwen2 and SmolLM2 have such a tokenizer, but Llama 2 and Mistral 7B have
    SentencePiece.
    """
    tokenizer: Any = model.tokenizer
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise _refused("there is no tokenizer.json" if tokenizer else "the model has none")
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    rules = content["model"]
    if rules["type"] != "BPE" or (content["decoder"] or {}).get("type") != "ByteLevel":
        raise _refused("it is not byte-level BPE, but SentencePiece or another kind")
    if content["normalizer"] not in (None, {"type": "NFC"}):  # llama.cpp skips NFC
        raise _refused(f"it has the normalizer {in_short(json.dumps(content['normalizer']))}")
    split = _split(content["pre_tokenizer"])
    if split is None:
        raise _refused(f"it has the pre-tokenizer {in_short(json.dumps(content['pre_tokenizer']))}")
    if not rules["merges"]:
        raise _refused("it has no merges, which llama.cpp needs")
    bos, eos = [tokenizer.bos_token_id], [tokenizer.eos_token_id]
    bare, whole = (tokenizer("a", add_special_tokens=add).input_ids for add in (False, True))
    starts, ends = whole[:1] == bos, whole[-1:] == eos
    if whole != bos * starts + bare + eos * ends:
        raise _refused("it adds other tokens than BOS at the start and EOS at the end")

    names = {index: token for token, index in tokenizer.get_vocab().items()}
    added = tokenizer.added_tokens_decoder
    tokens, types = [], []
    for index in range(model.vocabulary_size):
        tokens.append(names.get(index, f"[PAD{index}]"))  # some embeddings have no token
        if index in added:
            types.append(TokenType.CONTROL if added[index].special else TokenType.USER_DEFINED)
        else:
            types.append(TokenType.NORMAL if index in names else TokenType.UNUSED)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(split)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([" ".join(pair) for pair in rules["merges"]])
    for name in ("bos", "eos", "unk", "pad"):
        index = getattr(tokenizer, f"{name}_token_id")
        if index is not None:
            getattr(writer, f"add_{name}_token_id")(index)
    writer.add_add_bos_token(starts)
    writer.add_add_eos_token(ends)
    template = tokenizer.chat_template
    if isinstance(template, dict):
        template = template.get("default")
    if template:
        writer.add_chat_template(template)


def _split(pre_tokenizer: dict[str, Any] | None) -> str | None:
    """Return llama.cpp's name for the rules that split a text, or None if it has none."""
    parts = (pre_tokenizer or {}).get("pretokenizers", [pre_tokenizer])
    rules = []
    for part in parts:
        match part:
            case {"type": "ByteLevel", "add_prefix_space": False, "use_regex": use_regex}:
                rules += [BYTES] * use_regex
            case {"type": "Digits", "individual_digits": True}:
                rules.append(DIGITS)
            case {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated"}:
                rules.append(pattern)
            case _:
                return None
    return SPLITS.get(tuple(rules))


def _refused(reason: str) -> BadInput:
    return BadInput(
        f"the tokenizer cannot be exported: {reason}. Only byte-level BPE as in Llama 3, Mistral "
        f"NeMo, Qwen2 and SmolLM2 is supported. If all blocks have the same widths, try {CONVERTER}"
    )
