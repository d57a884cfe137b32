"""Greedy text generation, also if only one block fits on the accelerator."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from implementations.harness.errors import BadInput, NumericsError
from implementations.harness.model.execution import (
    on_device_read_only,
    replaced_forward,
    way_out,
)
from implementations.harness.model.view import LanguageModel, preserved
from implementations.harness.progress import track


@dataclass(frozen=True)
class Continuation:
    """Continuation of a prompt by a model."""

    text: str
    """The new text, without the prompt and without special tokens."""
    tokens: tuple[int, ...]
    """Ids of the new tokens, including an end-of-text token."""
    tokens_per_second: float
    """New tokens per second, including the time for reading the prompt."""


def continuation(model: LanguageModel, prompt: str, new_tokens: int) -> Continuation:
    """Continue `prompt` greedily by at most `new_tokens` tokens, or until the end of the text.

    No chat template is applied.

    Raises:
        BadInput: the model has no tokenizer or too few positions, or the prompt is empty.
        NumericsError: NaN among the logits.
    """
    ids = prompt_ids(model, prompt)
    assert model.tokenizer is not None  # guaranteed by `prompt_ids`
    check_positions(model, len(ids), new_tokens)
    ends = _end_tokens(model)
    start = time.perf_counter()
    steps = greedy(model, torch.tensor([ids]), new_tokens, ends)
    tokens = [int(token) for token in track(steps, "writing", new_tokens)]
    seconds = time.perf_counter() - start
    # Decode prompt and new tokens together, to keep a space between them.
    before, after = model.tokenizer.batch_decode([ids, ids + tokens], skip_special_tokens=True)
    return Continuation(
        text=after[len(before) :],
        tokens=tuple(tokens),
        tokens_per_second=len(tokens) / seconds,
    )


def prompt_ids(model: LanguageModel, prompt: str) -> list[int]:
    """Return the ids of a prompt, with the special tokens that the tokenizer adds, such as BOS.

    Raises `BadInput` if the model has no tokenizer or the prompt is empty.
    """
    if model.tokenizer is None:
        raise BadInput(f"{model.name} has no tokenizer, so it cannot continue a text; add one")
    ids: list[int] = model.tokenizer(prompt)["input_ids"]
    if not ids:
        raise BadInput("the prompt is empty; give at least one word")
    return ids


def greedy(
    model: LanguageModel, ids: Tensor, new_tokens: int, ends: Collection[int | None] = ()
) -> Iterator[Tensor]:
    """Yield the most probable next tokens `[batch]`, `new_tokens` times, for `ids [batch, length]`.

    The first comes from the prefill, each other from one decoding step with the key/value cache.
    For a batch of one, a token of `ends` is the last. Raises `NumericsError` at the end for NaN
    among the logits.
    """
    with preserved(model), on_accelerator(model):
        model.hf.eval()
        yield from decode(model, ids, new_tokens, ends)


def decode(
    model: LanguageModel, ids: Tensor, new_tokens: int, ends: Collection[int | None] = ()
) -> Iterator[Tensor]:
    """Generate like `greedy`, without its preparation of the model; this part is timed."""
    cache = {cache_argument(model): DynamicCache(config=model.config)}  # updated in place
    step = ids.to(model.accelerator)
    damaged = torch.zeros((), dtype=torch.bool, device=step.device)
    for _ in range(new_tokens):
        with torch.no_grad():
            output = model.hf(input_ids=step, use_cache=True, logits_to_keep=1, **cache)
        scores = output.logits[:, -1]  # [batch, vocabulary]
        damaged |= scores.isnan().any()  # read at the end, because reading waits for the device
        step = scores.argmax(dim=-1, keepdim=True)  # [batch, 1]
        yield step[:, 0]
        if ends and int(step) in ends:
            break
    if damaged:
        raise NumericsError(f"the logits contain NaN; {way_out(model.dtype)}")


def cache_argument(model: LanguageModel) -> str:
    """Return the name of the key/value cache argument, which transformers 5 renamed."""
    known = signature(model.hf.forward).parameters
    return "cache" if "cache" in known else "past_key_values"


def check_positions(model: LanguageModel, prompt: int, new_tokens: int) -> None:
    """Raise `BadInput` for no new tokens, or for more tokens than the model has positions."""
    if new_tokens < 1:
        raise BadInput(f"the number of new tokens must be at least 1, got {new_tokens}")
    positions = model.config.max_position_embeddings
    if prompt + new_tokens > positions:
        raise BadInput(
            f"{prompt} prompt tokens and {new_tokens} new tokens exceed the {positions} positions "
            f"of {model.name}; use fewer tokens"
        )


def _end_tokens(model: LanguageModel) -> set[int | None]:
    """Return the ids that end a text; a model may have none, one or several."""
    ends = getattr(model.hf.generation_config, "eos_token_id", None)
    if ends is None:
        ends = model.config.eos_token_id
    return set(ends) if isinstance(ends, list) else {ends}


def on_accelerator(model: LanguageModel) -> AbstractContextManager[None]:
    """Allow calls of `model.hf` with inputs on `model.accelerator` inside the `with` block.

    For callers that need the Hugging Face model itself, such as generation. If the weights are not
    on the accelerator, they are `streamed` to it.
    """
    return nullcontext() if model.accelerator == model.device else streamed(model)


@contextmanager
def streamed(model: LanguageModel) -> Iterator[None]:
    """Move each decoder layer to the accelerator for the duration of each of its calls.

    Slow, because every call moves every block, but only one block at a time needs memory there. All
    other weights stay on the accelerator throughout.
    """
    with ExitStack() as stack:
        stack.enter_context(on_device_read_only(model.hf, model.accelerator, without=model.layers))
        for module in model.layers:
            call = partial(_call_on_device, module, module.forward, model.accelerator)
            stack.enter_context(replaced_forward(module, call))
        yield


def _call_on_device(
    module: nn.Module, forward: Callable[..., Any], device: torch.device, *args: Any, **kwargs: Any
) -> Any:
    with on_device_read_only(module, device):
        return forward(*args, **kwargs)
