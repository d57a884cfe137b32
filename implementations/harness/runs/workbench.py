"""The bench: one model under one protocol, measured dense and pruned as often as asked."""

from __future__ import annotations

import hashlib
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from implementations.harness.data.samples import Sampler, Samples
from implementations.harness.data.seeds import seeded
from implementations.harness.errors import AtlasWarning, BadInput
from implementations.harness.measure.footprint import footprint
from implementations.harness.measure.generation import check_positions, continuation
from implementations.harness.measure.memory import free_memory, peak_memory
from implementations.harness.measure.perplexity import perplexity, split_perplexity
from implementations.harness.measure.speed import speed
from implementations.harness.measure.zero_shot import (
    load_tasks,
    questions_sha256,
    zero_shot,
)
from implementations.harness.model.devices import device_named, give_back_freed
from implementations.harness.model.identity import Identity
from implementations.harness.model.loading import load_model
from implementations.harness.model.units import count_weights
from implementations.harness.model.view import LanguageModel
from implementations.harness.progress import track
from implementations.harness.prune.journal import journal
from implementations.harness.prune.method import DAMAGED, Method, Outcome
from implementations.harness.prune.prompt import PromptMethod
from implementations.harness.results.bounds import LARGEST_INTEGER, NAMELESS, one_line
from implementations.harness.results.metric import AFTER_PROMPT
from implementations.harness.results.places import shown
from implementations.harness.results.protocol import Protocol
from implementations.harness.results.record import (
    DENSE,
    NO_SPEED_UP,
    Footprint,
    ModelInfo,
    Peak,
    Speed,
    key_of,
    relevant_versions,
)
from implementations.harness.results.recovery import Recovered, Recovery
from implementations.harness.runs import environment
from implementations.harness.train.loop import course
from implementations.harness.train.recovery import check as check_recovery
from implementations.harness.train.recovery import recover

TASK_BATCH = 4  # questions answered together
ROOM = 1.2  # times the weights: what a second model must find free to be loaded beside the first


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
    """One run: a configured method, or None for the dense model, the seed, and a recovery."""

    method: Method | None
    seed: int = 0
    recovery: Recovery | None = None
    """Training after pruning, or of the dense model."""

    @property
    def slug(self) -> str:
        """The method's name."""
        return DENSE if self.method is None else self.method.slug()

    @property
    def streams(self) -> frozenset[str]:
        """The texts to train on that are read, by their names in the protocol."""
        own = () if self.method is None else self.method.capabilities.streams
        return frozenset(own if self.recovery is None else {*own, "training"})

    @property
    def dense(self) -> Job:
        """The run of the dense model that stands beside: with the same recovery."""
        return Job(None) if self.recovery is None else self._replace(method=None)

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
        after = [] if self.recovery is None else [f"after {self.recovery}"]
        if self.method is None:
            return " ".join([DENSE, *after])
        changed = [f"{name}={value}" for name, value in self.changed.items()]
        return " ".join([self.slug, self.share, *changed, *after, f"seed {self.seed}"])


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
    untimed: str = ""
    """Why speed was not measured."""
    warnings: tuple[str, ...] = ()
    dense: dict[str, float] = field(default_factory=dict)
    """Of the dense model, where this run measured it too."""
    recovered: Recovered | None = None


@dataclass
class Timer:
    """Seconds by phase; the phases show in the progress."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str, words: str) -> Iterator[None]:
        """Add the time of the `with` block to `name`, and what a killed run had spent on it."""
        start, saved = time.perf_counter(), journal().saved
        for _ in track((name,), words):
            yield
        spent = time.perf_counter() - start + journal().saved - saved
        self.seconds[name] = round(self.seconds.get(name, 0.0) + spent, 3)


DENSE_JOB = Job(None)


class Workbench:
    """One model under one protocol, held in memory once: what a run prunes is loaded again.

    Tasks are loaded once as well, so that every run answers the same questions.

    Raises what loading raises: `BadInput` for a wrong task, model or device, or a model that
    changed since it was loaded first, `Unavailable` without network, space or lm-eval.
    """

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        if setup.task_folder is not None and not Path(setup.task_folder).is_dir():
            raise BadInput(
                f"--task-folder {shown(setup.task_folder)} is not a folder; give the one that "
                "holds the task files"
            )
        self.device = device_named(setup.device)
        self.tasks = load_tasks(setup.tasks, setup.task_folder) if setup.tasks else []
        self.timer = Timer()
        self._dense: LanguageModel | None = None
        self.identity: Identity | None = None
        model = self.dense()
        self.identity = model.identity
        self.accelerator = model.accelerator
        self.hardware = environment.hardware(model.accelerator)
        self.versions = relevant_versions(environment.versions(), setup.tasks)
        self.sampler = Sampler(setup.protocol, model)
        self.info = ModelInfo(
            name=one_line(model.name, NAMELESS),
            source=setup.model,
            sha256=model.identity and model.identity.weights,
            config_sha256=model.identity and model.identity.configuration,
            tokenizer_sha256=model.identity and model.identity.tokenizer,
            family=model.family.name,
            dtype=setup.dtype,
            device=self.device.type,
            accelerator=model.accelerator.type,
            parameters=sum(parameter.numel() for parameter in model.hf.parameters()),
        )

    def dense(self) -> LanguageModel:
        """Return the model as it came, loaded where the last run has pruned it."""
        if self._dense is None:
            self.timer = Timer()  # of this loading alone
            with self.timer.phase("load", f"loading {self.setup.model}"):
                model = load_model(
                    self.setup.model,
                    dtype=self.setup.dtype,
                    device=str(self.device),
                    accelerator=self.setup.accelerator,
                )
            if self.identity not in (None, model.identity):
                raise BadInput(
                    f"the files of {self.setup.model} changed between two runs; run again"
                )
            self._dense = model
        return self._dense

    @cached_property
    def footprint(self) -> Footprint:
        """What the dense model weighs; counting zeros reads all of its weights."""
        return footprint(self.dense())

    @cached_property
    def tasks_sha256(self) -> str | None:
        """Hash of the questions, wherever they are read from, and of the task folder's files."""
        if not self.tasks:
            return None
        hashes, folder = [questions_sha256(self.tasks)], self.setup.task_folder
        if folder is not None:
            hashes.append(environment.folder_sha256(Path(folder)))
        return hashlib.sha256(" ".join(hashes).encode()).hexdigest()

    def key(self, job: Job) -> str:
        """The key of the record that `job` gives; reads the texts the first time."""
        return key_of(
            job.slug,
            job.configuration,
            self.setup.protocol,
            model=self.info,
            texts=self.sampler.sources(job.streams),
            device=self.hardware.accelerator or self.device.type,
            seed=job.seed,
            tasks=self.setup.tasks,
            tasks_sha256=self.tasks_sha256,
            recovery=job.recovery,
        )

    def check(self, job: Job) -> Samples:
        """Refuse before any work what cannot be run; return what the run will see.

        Raises:
            BadInput: texts, pattern, budget or positions do not fit this model, or no generator
                takes the seed.
            NumericsError: its weights contain NaN or infinity.
        """
        if not 0 <= job.seed <= LARGEST_INTEGER:
            raise BadInput(f"seed {job.seed} is not from 0 to {LARGEST_INTEGER}")
        samples = self.sampler.samples(job.seed, job.streams)
        give_back_freed()  # tokenising takes half as much as a small model
        timed, written = self.setup.protocol.speed, self.setup.protocol.generation
        check_positions(self.dense(), timed.prompt, timed.tokens)
        check_positions(self.dense(), self.sampler.count(written.prompt), written.tokens)
        if job.method is not None:
            job.method.check(self.dense(), samples.calibration)
        else:
            count_weights(self.dense(), DAMAGED)
        if isinstance(job.method, PromptMethod) and self.setup.tasks:
            raise BadInput(
                f"{job.slug} chooses by a prompt, and lm-eval does not say where that of a "
                "question ends; leave out --tasks"
            )
        if job.recovery is not None:
            check_recovery(self.dense(), job.recovery)
            if isinstance(job.method, PromptMethod):
                raise BadInput(
                    f"{job.slug} removes nothing that could be made up for; leave out --recover"
                )
            if job.method is not None and job.method.capabilities.quantises:
                raise BadInput(
                    f"{job.slug} leaves few values, which training would undo; leave out --recover"
                )
        return samples

    def measure_dense(self, job: Job = DENSE_JOB) -> Measured:
        """Measure the model as it is, or after a recovery, which uses it up."""
        samples = self.check(job)
        model, weight = self.dense(), self.footprint
        timer = Timer(dict(self.timer.seconds))
        with warnings_kept() as warned, peak_memory(self.accelerator) as watch:
            recovered = None
            if job.recovery is not None:
                self._dense = None
                recovered = self._recover(model, job, samples, timer, masked=False)
            values, sample = self._quality(model, samples, timer)
        return Measured(
            samples=samples,
            values=values,
            footprint=weight if recovered is None else footprint(model),
            sample=sample,
            peak=watch.peak,
            seconds=timer.seconds,
            warnings=tuple(dict.fromkeys(map(str, warned))),
            recovered=recovered,
        )

    def measure(self, job: Job) -> tuple[Measured, LanguageModel]:
        """Prune the model in place and measure; return what was found and the pruned model.

        The dense one is loaded again where its speed is to be measured beside the pruned one's,
        if memory has room for both. A method that follows prompts leaves it as it is.
        """
        method, seed = job.method, job.seed
        assert method is not None  # the dense model is measured by `measure_dense`
        if isinstance(method, PromptMethod):
            return self._measure_following(method, seed), self.dense()
        with warnings_kept() as warned:
            samples = self.check(job)
            room = ROOM * self.footprint.bytes  # weighed while it is dense
            model, self._dense = self.dense(), None
            timer = Timer(dict(self.timer.seconds))
            recovered = None
            with peak_memory(self.accelerator) as watch:
                with timer.phase("prune", f"pruning by {method.slug()}"):
                    outcome = method.apply(model, samples.calibration, seed)
                if job.recovery is not None:
                    masked = not method.capabilities.structured
                    recovered = self._recover(model, job, samples, timer, masked)
            give_back_freed()
            values, sample = self._quality(model, samples, timer)
            untimed = self._untimed(method, room)
            rates = None if untimed else self._speed(model, timer)
        found = Measured(
            samples=samples,
            values=values,
            footprint=footprint(model, outcome.bits),
            sample=sample,
            peak=watch.peak,
            seconds=timer.seconds,
            outcome=outcome,
            speed=rates,
            untimed=untimed,
            warnings=tuple(dict.fromkeys(map(str, warned))),
            recovered=recovered,
        )
        return found, model

    def _recover(
        self, model: LanguageModel, job: Job, samples: Samples, timer: Timer, masked: bool
    ) -> Recovered:
        """Measure the model, train it, and return how that went."""
        recovery, stream = job.recovery, samples.calibration.training
        assert recovery is not None
        assert stream is not None
        before = {}
        for metric, tokens in samples.evaluations.items():
            with timer.phase("evaluate before", f"measuring {metric} before recovery"):
                before[metric] = perplexity(model, tokens).value
        with timer.phase("recover", f"recovering by {recovery}"), seeded(job.seed):
            losses = recover(model, recovery, stream, masked)
        windows = recovery.windows(stream.windows.ids.shape[1])
        went = course(losses, stream, windows)
        return Recovered(**dict(went), recovery=recovery, before=before)

    def _measure_following(self, method: PromptMethod, seed: int) -> Measured:
        """Measure what the model writes after a prompt: half of each window, or that of speed."""
        asked, timed = self.setup.protocol.generation, self.setup.protocol.speed
        with warnings_kept() as warned:
            samples = self.check(Job(method, seed))
            model, timer = self.dense(), Timer(dict(self.timer.seconds))
            values, dense = {}, {}
            for metric, tokens in samples.evaluations.items():
                prompt = tokens.ids.shape[1] // 2
                name = AFTER_PROMPT.kind + metric[metric.index("/") :]
                with timer.phase("evaluate", f"measuring {name}"):
                    dense[name] = split_perplexity(model, tokens, prompt).value
                    with method.following(model, prompt, seed):
                        values[name] = split_perplexity(model, tokens, prompt).value
            with (
                timer.phase("generate", "writing the sample"),
                peak_memory(self.accelerator) as watch,
                method.following(model, self.sampler.count(asked.prompt), seed),
            ):
                written = continuation(model, asked.prompt, asked.tokens).text
            within = partial(method.following, model, timed.prompt, seed)
            rates = self._speed(model, timer, within)
        unused, total = method.unused(model), count_weights(model).all
        macs = self.footprint.macs - unused
        return Measured(
            samples=samples,
            values=values,
            dense=dense,
            footprint=self.footprint.model_copy(update={"macs": macs}),
            sample=asked.prompt + written,
            peak=watch.peak,
            seconds=timer.seconds,
            outcome=Outcome(
                asked=method.target,
                achieved=unused / total,
                seconds=0.0,
                details={"channels": method.kept(model)},
            ),
            speed=rates,
            warnings=tuple(dict.fromkeys(map(str, warned))),
        )

    def _quality(
        self, model: LanguageModel, samples: Samples, timer: Timer
    ) -> tuple[dict[str, float], str]:
        values = {}
        for metric, tokens in samples.evaluations.items():
            with timer.phase("evaluate", f"measuring {metric}"):
                values[metric] = perplexity(model, tokens).value
        if self.setup.tasks:
            with timer.phase("tasks", f"answering {', '.join(self.setup.tasks)}"):
                batch_size = max(TASK_BATCH, self.setup.protocol.batch_size)
                values |= zero_shot(model, self.tasks, batch_size=batch_size)
        asked = self.setup.protocol.generation
        with timer.phase("generate", "writing the sample"):
            sample = asked.prompt + continuation(model, asked.prompt, asked.tokens).text
        return values, sample

    def _untimed(self, method: Method, room: float) -> str:
        """Say why speed is not measured, which takes `room` bytes more; empty where it is."""
        if not method.capabilities.structured:
            return NO_SPEED_UP
        if self.accelerator != self.device_of_weights:
            return "not measured: the model moves to the accelerator block by block"
        if free_memory(self.accelerator) < room:
            return "not measured: memory has no room for the dense model beside the pruned one"
        return ""

    @property
    def device_of_weights(self) -> torch.device:
        """Where the weights live, with the number of the accelerator."""
        return torch.empty(0, device=self.device).device

    def _speed(
        self,
        model: LanguageModel,
        timer: Timer,
        within: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> Speed:
        asked = self.setup.protocol.speed
        dense = self.dense()
        with timer.phase("speed", "measuring speed beside the dense model"):
            return speed(
                dense,
                model,
                prompt=asked.prompt,
                tokens=asked.tokens,
                batch=asked.batch,
                repeats=asked.repeats,
                pruned_within=within,
            )


@contextmanager
def warnings_kept() -> Iterator[list[Warning | str]]:
    """Collect the harness's warnings of the `with` block for a record; others pass as usual.

    Where the block fails there will be no record, and all of them pass.
    """
    kept: list[Warning | str] = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", AtlasWarning)
            yield kept
            kept += [w.message for w in caught if issubclass(w.category, AtlasWarning)]
    finally:
        for warning in caught:
            if warning.message not in kept:
                warnings.warn_explicit(
                    warning.message, warning.category, warning.filename, warning.lineno
                )
