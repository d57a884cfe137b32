"""Tokens a second, of a pruned model beside the dense one it came from."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from implementations.harness.errors import BadInput
from implementations.harness.measure.generation import check_positions, decode
from implementations.harness.model.view import LanguageModel, preserved
from implementations.harness.progress import track


@dataclass(frozen=True)
class Spread:
    """Several measurements of one thing."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Summarise `values`, at least one."""
        return cls(median=statistics.median(values), low=min(values), high=max(values))


@dataclass(frozen=True)
class Rate:
    """Tokens a second of both models, and pruned / dense of each pair of neighbouring repeats."""

    dense: Spread
    pruned: Spread
    ratio: Spread


@dataclass(frozen=True)
class Speed:
    """Measured speed and the settings it holds for."""

    prefill: Rate
    """Tokens of the prompts read a second."""
    decode: Rate
    """Tokens written a second, one step of the whole batch after the other, with cache."""
    prompt: int
    tokens: int
    batch: int
    repeats: int
    threads: int
    """Threads that torch used on the CPU."""
    device: str
    dtype: str


def speed(
    dense: LanguageModel,
    pruned: LanguageModel,
    *,
    prompt: int = 128,
    tokens: int = 32,
    batch: int = 1,
    repeats: int = 5,
    warmups: int = 1,
    seed: int = 0,
) -> Speed:
    """Time both models in turn (dense, pruned, dense, pruned ...) on the same random prompts.

    A repeat reads `batch` prompts of `prompt` tokens, then writes `tokens` more each by greedy
    decoding with the key/value cache. Whatever slows the machine for a while slows a pair of
    neighbours alike, so the ratio is taken pair by pair. Raises `BadInput` for models on two
    devices or in two dtypes, an accelerator that holds only one block, too many positions and
    settings below 1.
    """
    _check(dense, pruned, prompt=prompt, tokens=tokens, batch=batch, repeats=repeats)
    vocabulary = min(dense.vocabulary_size, pruned.vocabulary_size)
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(vocabulary, (batch, prompt), generator=generator)
    times = []  # (prefill, decode) seconds of dense and of pruned, a repeat
    for repeat in track(range(warmups + repeats), "measuring speed"):
        pair = [_seconds(model, ids, tokens) for model in (dense, pruned)]
        if repeat >= warmups:
            times.append(pair)
    return Speed(
        prefill=_rate([[batch * prompt / reading for reading, _ in pair] for pair in times]),
        decode=_rate([[batch * tokens / writing for _, writing in pair] for pair in times]),
        prompt=prompt,
        tokens=tokens,
        batch=batch,
        repeats=repeats,
        threads=torch.get_num_threads(),
        device=str(dense.device),
        dtype=str(dense.dtype).removeprefix("torch."),
    )


def _seconds(model: LanguageModel, ids: Tensor, tokens: int) -> tuple[float, float]:
    """Time one prefill of `ids [batch, prompt]` and `tokens` decoding steps."""
    with preserved(model):
        model.hf.eval()
        stream = decode(model, ids, tokens + 1)
        start = _now(model.device)
        next(stream)  # comes from reading the prompt
        middle = _now(model.device)
        for _ in stream:
            pass
        end = _now(model.device)
    return middle - start, end - middle


def _now(device: torch.device) -> float:
    """Read the clock once the work queued on `device` is done."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter()


def _rate(pairs: list[list[float]]) -> Rate:
    return Rate(
        dense=Spread.of([dense for dense, _ in pairs]),
        pruned=Spread.of([pruned for _, pruned in pairs]),
        ratio=Spread.of([pruned / dense for dense, pruned in pairs]),
    )


def _check(dense: LanguageModel, pruned: LanguageModel, **settings: int) -> None:
    for name, value in settings.items():
        if value < 1:
            raise BadInput(f"{name} is {value}: it must be at least 1")
    if (dense.device, dense.dtype) != (pruned.device, pruned.dtype):
        raise BadInput(
            f"dense ({dense.device}, {dense.dtype}) and pruned ({pruned.device}, {pruned.dtype}) "
            "must be on one device and in one dtype to be compared"
        )
    for model in (dense, pruned):
        if model.accelerator != model.device:
            raise BadInput(
                f"{model.name} moves to {model.accelerator} block by block, so its speed says "
                "nothing; measure it whole on one device"
            )
        check_positions(model, settings["prompt"], settings["tokens"])
