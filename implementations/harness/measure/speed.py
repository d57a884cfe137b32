"""Speed of a pruned model relative to the dense one, in tokens per second."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from implementations.harness.errors import BadInput
from implementations.harness.measure.generation import check_positions, decode
from implementations.harness.model.view import LanguageModel, preserved
from implementations.harness.progress import track
from implementations.harness.results.record import Rate, Speed


def speed(
    dense: LanguageModel,
    pruned: LanguageModel,
    *,
    prompt: int = 128,
    tokens: int = 32,
    batch: int = 1,
    repeats: int = 5,
    warmups: int = 1,
    attempts: int = 5,
    seed: int = 0,
    pruned_within: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Speed:
    """Time both models in turn (dense, pruned, dense, pruned ...) on the same random prompts.

    A repeat reads `batch` prompts of `prompt` tokens and generates `tokens` tokens each by greedy
    decoding with the key/value cache. The ratio is computed for each pair, because temporary load
    of the machine affects both timings of a pair. If the ratios vary too much (`Speed.steady`),
    other work disturbed the measurement; it is repeated up to `attempts` times, and the steadiest
    is returned. `pruned_within` returns the context in which the pruned model is timed, for methods
    that prune while the model runs.

    Raises:
        BadInput: the devices or dtypes of the models differ, a model moves to the accelerator
            block by block, it has too few positions, or a setting is below 1.
    """
    _check(dense, pruned, prompt=prompt, tokens=tokens, batch=batch, repeats=repeats)
    vocabulary = min(dense.vocabulary_size, pruned.vocabulary_size)
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(vocabulary, (batch, prompt), generator=generator)
    dtype = str(dense.dtype).removeprefix("torch.")
    note = (
        f"measured in turn with the dense model, {repeats} repeats, batch {batch}, prefill of "
        f"{prompt} tokens and decoding of {tokens}, {dense.device.type}, {dtype}"
    )
    measured: list[Speed] = []
    while len(measured) < attempts and not (measured and measured[-1].steady):
        times = []  # for each repeat, (prefill, decode) seconds of dense and of pruned
        for repeat in track(range(warmups + repeats), "measuring speed"):
            pair = [_seconds(dense, ids, tokens)]
            with pruned_within():
                pair.append(_seconds(pruned, ids, tokens))
            if repeat >= warmups:
                times.append(pair)
        prefill = rate([[batch * prompt / reading for reading, _ in pair] for pair in times])
        decoding = rate([[batch * tokens / writing for _, writing in pair] for pair in times])
        measured.append(Speed(note=note, prefill=prefill, decode=decoding))
    return min(measured, key=lambda one: one.spread)


def _seconds(model: LanguageModel, ids: Tensor, tokens: int) -> tuple[float, float]:
    """Time one prefill of `ids [batch, prompt]` and `tokens` decoding steps."""
    with preserved(model):
        model.hf.eval()
        stream = decode(model, ids, tokens + 1)
        start = now(model.device)
        next(stream)  # the prefill
        middle = now(model.device)
        for _ in stream:
            pass
        end = now(model.device)
    return middle - start, end - middle


def now(device: torch.device) -> float:
    """Read the clock after the queued work on `device` has finished."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter()


def rate(pairs: list[list[float]]) -> Rate:
    """Summarise pairs (dense, pruned), for example of tokens per second, over the repeats."""
    ratios = [pruned / dense for dense, pruned in pairs]
    return Rate(
        dense=statistics.median(dense for dense, _ in pairs),
        pruned=statistics.median(pruned for _, pruned in pairs),
        ratio=statistics.median(ratios),
        low=min(ratios),
        high=max(ratios),
    )


def _check(dense: LanguageModel, pruned: LanguageModel, **settings: int) -> None:
    for name, value in settings.items():
        if value < 1:
            raise BadInput(f"{name} must be at least 1, got {value}")
    if (dense.device, dense.dtype) != (pruned.device, pruned.dtype):
        raise BadInput(
            f"dense ({dense.device}, {dense.dtype}) and pruned ({pruned.device}, {pruned.dtype}) "
            "must have the same device and dtype"
        )
    for model in (dense, pruned):
        if model.accelerator != model.device:
            raise BadInput(
                f"{model.name} moves to {model.accelerator} block by block, so its speed is not "
                "meaningful; load the whole model on one device"
            )
        check_positions(model, settings["prompt"], settings["tokens"])
