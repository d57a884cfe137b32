"""The training loop: forward, backward, step, and a state on disk that a killed run goes on from.

losses = optimise(parameters, lambda ids: loss(model, ids), stream, plan)

The same seed gives the same parameters and losses to the bit, killed in between or not, on one
machine with one number of threads.
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

from implementations.harness.data.stream import Stream
from implementations.harness.errors import NumericsError, Unavailable
from implementations.harness.progress import task
from implementations.harness.prune.journal import discard, journal
from implementations.harness.results.files import remove_leftovers, whole
from implementations.harness.results.recovery import POINTS, Course
from implementations.harness.train.plan import Plan

EVERY = 60.0  # seconds between two states on disk
SHOWN = 20  # steps that the loss shown is the mean of

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
    """Train `parameters` by AdamW and return the loss of every step.

    `parameters` is as `torch.optim.AdamW` takes it: a group may have its own `lr`, the largest
    rate in the place of the plan's, and `weight_decay`. `loss` takes ids `[windows, length]` and
    returns a scalar, the mean over what it counts. `before(step)` is called once the gradients of a
    step are complete and clipped, to read them, and `after(step)` once the step is done and they
    are gone, as to prune on the way, both outside of autograd; tensors that they change belong into
    `state`, by name, so that they are kept on disk with the rest. `by` is another optimiser, called
    as AdamW is: with parameters, `lr`, `betas` and `weight_decay`. What it remembers belongs into
    its own state.

    Where a journal is open, the state goes to disk about once a minute and at the end, and a run
    that finds one there goes on from it. Raises `NumericsError` for a loss that is not finite,
    naming the step, and `Unavailable` where the disk is full.
    """
    optimizer = by(list(parameters), lr=plan.rate, betas=plan.betas, weight_decay=plan.weight_decay)
    largest = [group["lr"] for group in optimizer.param_groups]
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    kept = Kept(trained, optimizer, dict(state or {}))
    losses = kept.load()
    optimizer.zero_grad()  # what others left there is no part of the first step
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
                    f"the loss of training step {step} is {total}; train at a lower rate than "
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
            kept.save(losses, last=step == plan.steps - 1)
    return losses


class Kept:
    """The state of a training on disk, where a journal is open."""

    def __init__(
        self, trained: list[Tensor], optimizer: torch.optim.Optimizer, state: dict[str, Tensor]
    ) -> None:
        self.trained, self.optimizer, self.state = trained, optimizer, state
        self.book = journal()
        self.path = self.book.beside(self.book.begin())
        self.begun = self.saved = time.monotonic()
        self.before = 0.0
        """Seconds that runs which were killed had trained."""

    def load(self) -> list[float]:
        """Restore the saved state, if there is one, and return the losses until then.

        A damaged file is discarded with a warning, and the training starts over.
        """
        if self.path is None or not self.path.exists():
            return []
        try:
            found = _read(self.path)
        except Exception as error:  # a damaged archive raises almost anything
            discard(self.path, error)
            return []
        with torch.no_grad():
            for tensor, saved in zip(self.trained, found["trained"], strict=True):
                tensor.copy_(saved)
            for name, tensor in self.state.items():
                tensor.copy_(found["state"][name])
        self.optimizer.load_state_dict(found["optimizer"])
        _set_generators(found["generators"], self.trained)
        self.before = found["seconds"]
        self.book.saved += self.before
        losses: list[float] = found["losses"]
        return losses

    def save(self, losses: list[float], last: bool) -> None:
        """Write the state if it is time, or the `last` step."""
        if self.path is None or not (last or time.monotonic() - self.saved > EVERY):
            return
        content = {
            "trained": [tensor.detach() for tensor in self.trained],
            "state": self.state,
            "optimizer": self.optimizer.state_dict(),
            "generators": _generators(self.trained),
            "losses": losses,
            "seconds": self.before + time.monotonic() - self.begun,
        }
        _write(self.path, content)
        self.saved = time.monotonic()


def _read(path: Path) -> Any:
    """Load a saved state on the CPU; raises an exception of any kind for a damaged file.

    `torch.save` writes a zip archive with checksums, which `torch.load` does not check.
    """
    with zipfile.ZipFile(path) as archive:
        part = archive.testzip()
    if part is not None:
        raise ValueError(f"{part} does not match its checksum")
    return torch.load(path, map_location="cpu", weights_only=True)


def _write(path: Path, content: dict[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path)
        with whole(path) as file:
            torch.save(content, file)
    except (OSError, RuntimeError) as error:  # torch's writer turns a full disk into the latter
        raise Unavailable(
            f"cannot write the state of the training to {path}: {error}; free some space"
        ) from error


def _generators(trained: list[Tensor]) -> dict[str, Any]:
    """Collect the states of all global generators, as `weights_only` loads them."""
    numpys: Any = np.random.get_state()
    found: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": (numpys[0], torch.from_numpy(numpys[1].astype(np.int64)), *numpys[2:]),
        "torch": torch.get_rng_state(),
    }
    device = trained[0].device
    if device.type != "cpu":
        found["accelerator"] = torch.get_device_module(device).get_rng_state(device)
    return found


def _set_generators(saved: dict[str, Any], trained: list[Tensor]) -> None:
    """Put the global generators back."""
    kind, words, *rest = saved["numpy"]
    random.setstate(saved["python"])
    np.random.set_state((kind, words.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(saved["torch"])
    if "accelerator" in saved:
        device = trained[0].device
        torch.get_device_module(device).set_rng_state(saved["accelerator"], device)


def course(losses: Sequence[float], stream: Stream, windows: int) -> Course:
    """Say how a training went whose steps read so many windows of `stream` each."""
    read = len(losses) * windows
    return Course(
        steps=len(losses),
        read=read * stream.windows.ids.shape[1],
        epochs=round(stream.epochs(read), 6),
        losses=tuple(thinned(losses)),
    )


def thinned(losses: Sequence[float], points: int = POINTS) -> list[float]:
    """Return a curve of at most `points`: means over as many stretches of equal length."""
    if len(losses) <= points:
        return list(losses)
    edges = [round(i * len(losses) / points) for i in range(points + 1)]
    return [sum(losses[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]
