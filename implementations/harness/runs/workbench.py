"""The bench: one model under one protocol, measured dense and pruned as often as asked."""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

from implementations.harness.data.samples import Sampler, Samples
from implementations.harness.errors import AtlasWarning
from implementations.harness.measure.footprint import footprint
from implementations.harness.measure.generation import check_positions, continuation
from implementations.harness.measure.memory import peak_memory
from implementations.harness.measure.perplexity import perplexity
from implementations.harness.measure.speed import speed
from implementations.harness.measure.zero_shot import zero_shot
from implementations.harness.model.devices import device_named
from implementations.harness.model.loading import load_model
from implementations.harness.model.view import LanguageModel
from implementations.harness.progress import track
from implementations.harness.prune.method import Method, Outcome
from implementations.harness.results.protocol import Protocol
from implementations.harness.results.record import DENSE, Footprint, Peak, Speed, key_of
from implementations.harness.runs import environment


@dataclass(frozen=True)
class Setup:
    """Which model, under which protocol, where; small, so that it can be sent to workers."""

    model: str
    protocol: Protocol
    device: str = "cpu"
    dtype: str = "float32"
    accelerator: str | None = None
    tasks: tuple[str, ...] = ()
    task_folder: str | None = None
    """Task files of one's own, beside those of lm-eval."""


class Job(NamedTuple):
    """One run: a configured method, or None for the dense model, and the seed."""

    method: Method | None
    seed: int = 0

    @property
    def slug(self) -> str:
        """The method's name."""
        return DENSE if self.method is None else self.method.slug()

    @property
    def configuration(self) -> dict[str, Any]:
        """Every field of the method with its value; a pattern says the share itself."""
        if self.method is None:
            return {}
        fields = self.method.model_dump(mode="json")
        return fields | {"sparsity": self.method.target}

    @property
    def changed(self) -> dict[str, Any]:
        """Fields other than the share whose value is not the default."""
        if self.method is None:
            return {}
        default = type(self.method)().model_dump(mode="json")
        return {
            name: value
            for name, value in self.configuration.items()
            if name not in ("sparsity", "pattern") and value != default[name]
        }

    @property
    def share(self) -> str:
        """What is to be removed: `2:4` or `50 %`."""
        if self.method is None:
            return ""
        return str(self.configuration.get("pattern") or f"{100 * self.method.target:g} %")

    def __str__(self) -> str:
        if self.method is None:
            return DENSE
        changed = [f"{name}={value}" for name, value in self.changed.items()]
        return " ".join([self.slug, self.share, *changed, f"seed {self.seed}"])


@dataclass
class Measured:
    """What one run saw and found, before it is written down."""

    samples: Samples
    values: dict[str, float]
    footprint: Footprint
    sample: str
    peak: Peak
    seconds: dict[str, float]
    outcome: Outcome | None = None
    speed: Speed | None = None
    warnings: tuple[str, ...] = ()


@dataclass
class Timer:
    """Seconds by phase; the phases show in the progress."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str, words: str) -> Iterator[None]:
        """Add the time of the `with` block to `name`."""
        start = time.perf_counter()
        for _ in track((name,), words):
            yield
        spent = time.perf_counter() - start
        self.seconds[name] = round(self.seconds.get(name, 0.0) + spent, 3)


class Workbench:
    """A loaded model that is never changed: every run works on a copy, unless it is the last.

    Raises what loading raises: `BadInput` for a wrong model or device, `Unavailable` without
    network or space.
    """

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.device = device_named(setup.device)
        self.timer = Timer()
        with self.timer.phase("load", f"loading {setup.model}"):
            self.model = load_model(
                setup.model,
                dtype=setup.dtype,
                device=str(self.device),
                accelerator=setup.accelerator,
            )
        self.footprint = footprint(self.model)
        self.hardware = environment.hardware(self.model.accelerator)
        self.sampler = Sampler(setup.protocol, self.model)

    def key(self, job: Job) -> str:
        """The key of the record that `job` gives."""
        return key_of(
            job.slug,
            job.configuration,
            self.setup.protocol,
            model=self.model.sha256 or self.setup.model,
            dtype=self.setup.dtype,
            device=self.hardware.accelerator or self.device.type,
            seed=job.seed,
            tasks=self.setup.tasks,
        )

    def check(self, job: Job) -> Samples:
        """Refuse before any work what cannot be run; return what the run will see.

        Raises:
            BadInput: texts, pattern, budget or positions do not fit this model.
            NumericsError: its weights contain NaN or infinity.
        """
        samples = self.sampler.samples(job.seed)
        timed, written = self.setup.protocol.speed, self.setup.protocol.generation
        check_positions(self.model, timed.prompt, timed.tokens)
        check_positions(self.model, self.sampler.count(written.prompt), written.tokens)
        if job.method is not None:
            job.method.check(self.model, samples.calibration)
        return samples

    def measure_dense(self) -> Measured:
        """Measure the model as it is."""
        timer = Timer(dict(self.timer.seconds))
        samples = self.check(Job(None))
        with peak_memory(self.model.accelerator) as watch:
            values, sample = self._quality(self.model, samples, timer)
        return Measured(
            samples=samples,
            values=values,
            footprint=self.footprint,
            sample=sample,
            peak=watch.peak,
            seconds=timer.seconds,
        )

    def measure(
        self, method: Method, seed: int = 0, *, last: bool = False
    ) -> tuple[Measured, LanguageModel]:
        """Prune and measure; return what was found and the pruned model.

        With `last` the bench's own model may be pruned instead of a copy, which halves the memory;
        the bench is then of no more use.
        """
        timer = Timer(dict(self.timer.seconds))
        with warnings_kept() as warned:
            samples = self.check(Job(method, seed))
            timed = method.capabilities.structured and self._measures_speed()
            model = self.model if last and not timed else self._copy()
            torch.manual_seed(seed)
            with (
                timer.phase("prune", f"pruning by {method.slug()}"),
                peak_memory(model.accelerator) as watch,
            ):
                outcome = method.apply(model, samples.calibration)
            values, sample = self._quality(model, samples, timer)
            rates = self._speed(model, timer) if timed else None
        found = Measured(
            samples=samples,
            values=values,
            footprint=footprint(model),
            sample=sample,
            peak=watch.peak,
            seconds=timer.seconds,
            outcome=outcome,
            speed=rates,
            warnings=tuple(dict.fromkeys(map(str, warned))),
        )
        return found, model

    def _quality(
        self, model: LanguageModel, samples: Samples, timer: Timer
    ) -> tuple[dict[str, float], str]:
        values = {}
        for metric, tokens in samples.evaluations.items():
            with timer.phase("evaluate", f"measuring {metric}"):
                values[metric] = perplexity(model, tokens).value
        if self.setup.tasks:
            with timer.phase("tasks", f"answering {', '.join(self.setup.tasks)}"):
                values |= zero_shot(
                    model,
                    self.setup.tasks,
                    task_folder=self.setup.task_folder,
                    batch_size=self.setup.protocol.batch_size,
                )
        asked = self.setup.protocol.generation
        with timer.phase("generate", "writing the sample"):
            sample = asked.prompt + continuation(model, asked.prompt, asked.tokens).text
        return values, sample

    def _measures_speed(self) -> bool:
        """A model that moves to the accelerator block by block has no speed of its own."""
        return bool(self.model.accelerator == self.model.device)

    def _speed(self, model: LanguageModel, timer: Timer) -> Speed:
        asked = self.setup.protocol.speed
        with timer.phase("speed", "measuring speed beside the dense model"):
            return speed(
                self.model,
                model,
                prompt=asked.prompt,
                tokens=asked.tokens,
                batch=asked.batch,
                repeats=asked.repeats,
            )

    def _copy(self) -> LanguageModel:
        return LanguageModel(
            copy.deepcopy(self.model.hf),
            self.model.tokenizer,
            name=self.model.name,
            sha256=self.model.sha256,
            accelerator=self.model.accelerator,
        )


@contextmanager
def warnings_kept() -> Iterator[list[Warning | str]]:
    """Collect the harness's warnings of the `with` block; others pass as usual."""
    kept: list[Warning | str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", AtlasWarning)
        try:
            yield kept
        finally:
            kept += [w.message for w in caught if issubclass(w.category, AtlasWarning)]
    for warning in caught:
        if not issubclass(warning.category, AtlasWarning):
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
