"""Greedy text: the same prompt continued by each model."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from inspect import signature

import torch
from torch import Tensor
from transformers import DynamicCache

from implementations.harness.errors import BadInput, NumericsError
from implementations.harness.measure.forward import on_accelerator
from implementations.harness.model.view import LanguageModel, preserved
from implementations.harness.progress import track


@dataclass(frozen=True)
class Continuation:
    """What a model wrote after a prompt."""

    text: str
    """The new text, without the prompt and without special tokens."""
    tokens: tuple[int, ...]
    """Ids of the new tokens; the last is the end of text where the model ended it."""
    tokens_per_second: float
    """New tokens a second, the reading of the prompt included."""


def continuation(model: LanguageModel, prompt: str, new_tokens: int) -> Continuation:
    """Continue `prompt` by at most `new_tokens` tokens, each the most probable one.

    The prompt is plain text: no chat template. The model may end the text before. Raises
    `BadInput` without a tokenizer, for an empty prompt and where the positions do not suffice,
    `NumericsError` for NaN among the logits.
    """
    if model.tokenizer is None:
        raise BadInput(f"{model.name} came without a tokenizer, so it cannot continue a text")
    ids = model.tokenizer(prompt)["input_ids"]
    if not ids:
        raise BadInput("the prompt is empty: give at least a word")
    check_positions(model, len(ids), new_tokens)
    ends = _end_tokens(model)
    start = time.perf_counter()
    tokens: list[int] = []
    for token in track(greedy(model, torch.tensor([ids]), new_tokens), "writing", new_tokens):
        tokens.append(int(token))
        if tokens[-1] in ends:
            break
    seconds = time.perf_counter() - start
    # Decoded together: by themselves the new tokens may lose the space that joins them.
    before, after = model.tokenizer.batch_decode([ids, ids + tokens], skip_special_tokens=True)
    return Continuation(
        text=after[len(before) :],
        tokens=tuple(tokens),
        tokens_per_second=len(tokens) / seconds,
    )


def greedy(model: LanguageModel, ids: Tensor, new_tokens: int) -> Iterator[Tensor]:
    """Yield the most probable next tokens `[batch]`, `new_tokens` times, for `ids [batch, length]`.

    The first come from reading the prompt, the others each from one step with the key/value
    cache. Nothing ends it early. Raises `NumericsError` for NaN among the logits.
    """
    with preserved(model), on_accelerator(model):
        model.hf.eval()
        yield from decode(model, ids, new_tokens)


def decode(model: LanguageModel, ids: Tensor, new_tokens: int) -> Iterator[Tensor]:
    """Do the work of `greedy`, which readies the model: only this is what a clock should see."""
    cache = {cache_argument(model): DynamicCache(config=model.config)}  # grows in place
    step = ids.to(model.accelerator)
    for _ in range(new_tokens):
        with torch.no_grad():
            output = model.hf(input_ids=step, use_cache=True, logits_to_keep=1, **cache)
        scores = output.logits[:, -1]  # [batch, vocabulary]
        if scores.isnan().any():
            raise NumericsError(
                "the logits contain NaN; load the model in a wider dtype (--dtype float32) "
                "or prune less"
            )
        step = scores.argmax(dim=-1, keepdim=True)  # [batch, 1]
        yield step[:, 0]


def cache_argument(model: LanguageModel) -> str:
    """What the model calls the key/value cache: transformers renamed it within its version 5."""
    known = signature(model.hf.forward).parameters
    return "cache" if "cache" in known else "past_key_values"


def check_positions(model: LanguageModel, prompt: int, new_tokens: int) -> None:
    """Refuse with `BadInput` more tokens than the model has positions for, or fewer than one."""
    if new_tokens < 1:
        raise BadInput(f"{new_tokens} new tokens asked for: ask for at least 1")
    positions = model.config.max_position_embeddings
    if prompt + new_tokens > positions:
        raise BadInput(
            f"{prompt} tokens of prompt and {new_tokens} new ones exceed the {positions} positions "
            f"of {model.name}; ask for fewer"
        )


def _end_tokens(model: LanguageModel) -> set[int | None]:
    """Ids that end a text: a model may have none, one or several."""
    ends = getattr(model.hf.generation_config, "eos_token_id", None)
    if ends is None:
        ends = model.config.eos_token_id
    return set(ends) if isinstance(ends, list) else {ends}
