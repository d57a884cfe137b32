"""The training loop, with a state on disk from which a killed run resumes.

losses = optimise(parameters, lambda ids: loss(model, ids), stream, plan)

On one machine with a fixed number of threads, equal seeds give equal parameters and losses bit for
bit, even if a run was killed and resumed.
"""

from __future__ import annotations

import itertools
import math
import random
import time
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from implementations.harness.data.tokens import Stream
from implementations.harness.errors import NumericsError, Unavailable
from implementations.harness.progress import task
from implementations.harness.prune.journal import discard, journal
from implementations.harness.results.files import atomic_file, remove_leftovers
from implementations.harness.results.protocol import POINTS, Course
from implementations.harness.train.schedule import Plan

EVERY = 60.0  # seconds between saved states, at least
SHARE = 0.05  # largest share of the time that is spent on saving
SHOWN = 20  # steps over which the displayed loss is averaged

Groups = Iterable[nn.Parameter] | Sequence[dict[str, Any]]


def optimise(
    parameters: Groups,
    loss: Callable[[Tensor], Tensor],
    stream: Stream,
    plan: Plan,
    *,
    before: Callable[[int], None] | None = None,
    after: Callable[[int], None] | None = None,
    state: Mapping[str, Tensor] | None = None,
    by: Callable[..., torch.optim.Optimizer] = torch.optim.AdamW,
) -> list[float]:
    """Train `parameters` with AdamW and return the loss of every step.

    `parameters` is as for `torch.optim.AdamW`; groups may have their own largest `lr` and their own
    `weight_decay`. `loss` takes ids `[windows, length]` and returns a mean loss. `before(step)` is
    called when the gradients of a step are complete and clipped. `after(step)` is called after the
    step, when they are cleared, for example to prune. Both run without autograd; put tensors that
    they change into `state`, by name, so that these are saved as well. `by` constructs another
    optimiser from parameters, `lr`, `betas` and `weight_decay`; its own state is saved too.

    If a journal is open, the state is saved about once a minute, more rarely if it is large, and at
    the end; a later run resumes from it. Raises `NumericsError` for a loss that is not finite and
    `Unavailable` if the disk is full.
    """
    optimizer = by(list(parameters), lr=plan.rate, betas=plan.betas, weight_decay=plan.weight_decay)
    largest = [group["lr"] for group in optimizer.param_groups]
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    saved = SavedState(trained, optimizer, dict(state or {}))
    losses = saved.load()
    optimizer.zero_grad()  # gradients from elsewhere must not affect the first step
    batches = stream.batches(plan.at_once, start=(plan.before + len(losses)) * plan.pieces)
    with torch.enable_grad(), task("training", plan.steps) as shown:
        shown.advance(len(losses))
        for step in range(len(losses), plan.steps):
            for group, rate in zip(optimizer.param_groups, largest, strict=True):
                group["lr"] = rate * plan.factor(step)
            total = 0.0
            for _ in range(plan.pieces):
                value = loss(next(batches)) / plan.pieces
                value.backward()
                total += float(value.detach())
            if not math.isfinite(total):
                raise NumericsError(
                    f"the loss of training step {step} is {total}; use a learning rate below "
                    f"{plan.rate:g}, or load the model in a wider dtype (--dtype float32)"
                )
            if plan.clip is not None:
                nn.utils.clip_grad_norm_(trained, plan.clip)
            if before is not None:
                with torch.no_grad():
                    before(step)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(total)
            if after is not None:
                with torch.no_grad():
                    after(step)
            recent = losses[-SHOWN:]
            shown.say(f"training, loss {sum(recent) / len(recent):.3f}")
            shown.advance()
            saved.save(losses, last=step == plan.steps - 1)
    return losses


class SavedState:
    """The state of a training on disk, if a journal is open."""

    def __init__(
        self, trained: list[Tensor], optimizer: torch.optim.Optimizer, state: dict[str, Tensor]
    ) -> None:
        self.trained, self.optimizer, self.state = trained, optimizer, state
        self.book = journal()
        self.path = self.book.state_file(self.book.begin())
        self.begun = time.monotonic()
        self.due = self.begun + EVERY
        self.before = 0.0
        """Seconds of training in killed runs."""

    def load(self) -> list[float]:
        """Restore the saved state, if there is one, and return its losses.

        A damaged file is discarded with a warning, and the training starts over.
        """
        if self.path is None or not self.path.exists():
            return []
        try:
            content = _read(self.path)
        except Exception as error:  # a damaged archive raises many types
            discard(self.path, error)
            return []
        with torch.no_grad():
            for tensor, values in zip(self.trained, content["trained"], strict=True):
                tensor.copy_(values)
            for name, tensor in self.state.items():
                tensor.copy_(content["state"][name])
        self.optimizer.load_state_dict(content["optimizer"])
        _set_generators(content["generators"], self.trained)
        self.before = content["seconds"]
        self.book.saved += self.before
        losses: list[float] = content["losses"]
        return losses

    def save(self, losses: list[float], last: bool) -> None:
        """Save the state if it is due, and after the `last` step."""
        started = time.monotonic()
        if self.path is None or not (last or started >= self.due):
            return
        content = {
            "trained": [tensor.detach() for tensor in self.trained],
            "state": self.state,
            "optimizer": self.optimizer.state_dict(),
            "generators": _generators(self.trained),
            "losses": losses,
            "seconds": self.before + started - self.begun,
        }
        _write(self.path, content)
        ended = time.monotonic()
        self.due = ended + max(EVERY, (ended - started) / SHARE)


def _read(path: Path) -> Any:
    """Load a saved state on the CPU; raises an exception of any type for a damaged file."""
    # `torch.save` writes a zip archive with checksums, which `torch.load` does not check.
    with zipfile.ZipFile(path) as archive:
        part = archive.testzip()
    if part is not None:
        raise ValueError(f"{part} does not match its checksum")
    return torch.load(path, map_location="cpu", weights_only=True)


def _write(path: Path, content: dict[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path)
        with atomic_file(path) as file:
            torch.save(content, file)
    except (OSError, RuntimeError) as error:  # torch raises RuntimeError for a full disk
        raise Unavailable(
            f"cannot write the state of the training to {path}: {error}; free some space"
        ) from error


def _generators(trained: list[Tensor]) -> dict[str, Any]:
    """Return the states of all global generators, in types that `weights_only` can load."""
    of_numpy: Any = np.random.get_state()
    states: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": (of_numpy[0], torch.from_numpy(of_numpy[1].astype(np.int64)), *of_numpy[2:]),
        "torch": torch.get_rng_state(),
    }
    device = trained[0].device
    if device.type != "cpu":
        states["accelerator"] = torch.get_device_module(device).get_rng_state(device)
    return states


def _set_generators(saved: dict[str, Any], trained: list[Tensor]) -> None:
    """Restore the global generators."""
    kind, words, *rest = saved["numpy"]
    random.setstate(saved["python"])
    np.random.set_state((kind, words.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(saved["torch"])
    if "accelerator" in saved:
        device = trained[0].device
        torch.get_device_module(device).set_rng_state(saved["accelerator"], device)


def training_course(losses: Sequence[float], stream: Stream, windows: int) -> Course:
    """Return the course of a training whose steps each read `windows` windows of `stream`."""
    read = len(losses) * windows
    return Course(
        steps=len(losses),
        read=read * stream.windows.ids.shape[1],
        epochs=round(stream.epochs(read), 6),
        losses=tuple(thinned(losses)),
    )


def thinned(losses: Sequence[float], points: int = POINTS) -> list[float]:
    """Return a curve of at most `points` points, each the mean of an equal part of `losses`."""
    if len(losses) <= points:
        return list(losses)
    edges = [round(i * len(losses) / points) for i in range(points + 1)]
    return [sum(losses[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]
