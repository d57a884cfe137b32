"""The workbench: prunes and measures one model under one protocol, run after run."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from implementations.harness.data.samples import Sampler, Samples
from implementations.harness.data.tokens import Tokens
from implementations.harness.errors import BadInput
from implementations.harness.measure.divergence import DensePredictions
from implementations.harness.measure.generation import check_positions, continuation, prompt_ids
from implementations.harness.measure.memory import footprint, free_memory, peak_memory
from implementations.harness.measure.perplexity import perplexity, split_perplexity
from implementations.harness.measure.speed import speed
from implementations.harness.measure.zero_shot import (
    load_tasks,
    questions_sha256,
    zero_shot,
)
from implementations.harness.model.execution import parse_device, seeded, trim_memory
from implementations.harness.model.loading import load_model
from implementations.harness.model.streaming import StreamedModel, open_streamed
from implementations.harness.model.units import count_weights
from implementations.harness.model.view import Identity, LanguageModel
from implementations.harness.progress import track
from implementations.harness.prune.method import DAMAGED, Method, collected_warnings
from implementations.harness.prune.parallel import processes
from implementations.harness.results.metric import AFTER_PROMPT, AGREEMENT, DIVERGENCE, beside
from implementations.harness.results.protocol import MEASUREMENT, Recovered
from implementations.harness.results.reading import LARGEST_INTEGER, NAMELESS, one_line
from implementations.harness.results.record import (
    NO_SPEED_UP,
    SCHEMA_VERSION,
    Dense,
    Footprint,
    ModelInfo,
    Record,
    Speed,
    key_of,
    relevant_versions,
)
from implementations.harness.runs.job import DENSE_JOB, Job, Setup
from implementations.harness.runs.recording import (
    Measurements,
    command_of,
    commit,
    folder_sha256,
    granularity_of,
    hardware,
    labels_of,
    name_of,
    plain_json,
    texts_of,
    time_of,
    versions,
)

TASK_BATCH = 4  # questions per batch
ROOM = 1.2  # free memory, in multiples of the weights, needed to load a second model


@dataclass
class Timer:
    """Durations of the phases in seconds; each phase is reported as progress.

    One thread of a CPU is timed by its processor time, which other work on the machine does not
    lengthen. Anything else is timed by the clock.
    """

    alone: bool
    """Whether one CPU thread does all work."""
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str, description: str) -> Iterator[None]:
        """Add the duration of the `with` block to `name`."""
        clock = time.process_time if self.alone else time.perf_counter
        start = clock()
        for _ in track((name,), description):
            yield
        self.seconds[name] = round(self.seconds.get(name, 0.0) + clock() - start, 3)


class Workbench:
    """One model under one protocol; only one copy is in memory, reloaded after a run pruned it.

    Tasks are loaded once, so that every run answers the same questions.

    Raises:
        BadInput: the task, model or device is invalid, or the model's files changed since it was
            first loaded.
        Unavailable: network, disk space or lm-eval is missing.
    """

    work: Path | None = None
    """Folder for the edited blocks of a streamed model; None for a temporary one."""

    def __init__(self, setup: Setup) -> None:
        """Load the model."""
        self.setup = setup
        if setup.stream and setup.tasks:
            raise BadInput("--tasks cannot be used with --stream; measure the saved model instead")
        self.device = parse_device(setup.device)
        self.tasks = load_tasks(setup.tasks, setup.task_folder) if setup.tasks else []
        self.accelerator = parse_device(setup.accelerator or setup.device)
        self.hardware = hardware(self.accelerator)
        self.timer = self._timer()
        self._dense: LanguageModel | None = None
        self._predictions: DensePredictions | None = None
        self.identity: Identity | None = None
        model = self.dense()
        self.identity = model.identity
        self.accelerator = model.accelerator
        self.versions = relevant_versions(versions(), setup.tasks)
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
            streamed=setup.stream,
        )

    def dense(self) -> LanguageModel:
        """Return the dense model, loading it again if the last run changed it."""
        if self._dense is None:
            self.timer = self._timer()  # of this load only
            with self.timer.phase("load", f"loading {self.setup.model}"):
                model = self._load()
            if self.identity not in (None, model.identity):
                raise BadInput(
                    f"the files of {self.setup.model} changed between two runs; start again"
                )
            self._dense = model
        return self._dense

    def _timer(self, seconds: Mapping[str, float] | None = None) -> Timer:
        alone = self.accelerator.type == "cpu" and self.hardware.threads == 1
        return Timer(alone, dict(seconds or {}))

    def _load(self) -> LanguageModel:
        setup = self.setup
        if setup.stream:
            return open_streamed(setup.model, dtype=setup.dtype, accelerator=setup.accelerator)
        return load_model(
            setup.model,
            dtype=setup.dtype,
            device=str(self.device),
            accelerator=setup.accelerator,
        )

    @cached_property
    def footprint(self) -> Footprint:
        """Footprint of the dense model."""
        return footprint(self.dense())

    def predictions(self, samples: Samples, timer: Timer) -> DensePredictions:
        """Return the dense model's predictions on the evaluation texts, the same for every run."""
        if self._predictions is None:
            with timer.phase("evaluate dense", "reading the evaluation texts with the dense model"):
                self._predictions = DensePredictions(self.dense(), samples.evaluations.values())
        return self._predictions

    @cached_property
    def tasks_sha256(self) -> str | None:
        """Hash of the questions of all tasks and of the files in the task folder."""
        if not self.tasks:
            return None
        hashes, folder = [questions_sha256(self.tasks)], self.setup.task_folder
        if folder is not None:
            hashes.append(folder_sha256(Path(folder)))
        return hashlib.sha256(" ".join(hashes).encode()).hexdigest()

    def key(self, job: Job) -> str:
        """Return the key of the record of `job`; the first call reads the texts."""
        return key_of(
            job.slug,
            job.configuration,
            self.setup.protocol,
            measurement=MEASUREMENT,
            revision=job.method.revision if job.method else 1,
            model=self.info,
            texts=self.sampler.sources(job.streams),
            device=self.hardware.accelerator or self.device.type,
            seed=job.seed,
            tasks=self.setup.tasks,
            tasks_sha256=self.tasks_sha256,
            recovery=job.recovery,
            external=job.external,
        )

    def prepare(self, job: Job, *, saves: bool = False) -> Samples:
        """Run all checks and return the texts of the run.

        `saves` states whether the pruned model will be saved.

        Raises:
            BadInput: texts, pattern, budget, positions or seed do not fit the model, or the method
                does not support an option of the run.
            NumericsError: the weights of the model contain NaN or infinity.
        """
        if not 0 <= job.seed <= LARGEST_INTEGER:
            raise BadInput(f"seed must be between 0 and {LARGEST_INTEGER}, got {job.seed}")
        options = {"save": saves, "tasks": self.setup.tasks, "recover": job.recovery}
        for option, reason in (job.method.excluded if job.method else {}).items():
            if options[option]:
                raise BadInput(f"--{option} cannot be used with {job.slug}: {reason}")
        if self.setup.stream:
            _check_streamed(job)
        samples = self.sampler.samples(job.seed, job.streams)
        trim_memory()  # tokenising needs half as much memory as a small model
        timed, written = self.setup.protocol.speed, self.setup.protocol.generation
        check_positions(self.dense(), timed.prompt, timed.tokens)
        prompt = prompt_ids(self.dense(), written.prompt)
        check_positions(self.dense(), len(prompt), written.tokens)
        if job.method is not None:
            job.method.check(self.dense(), samples.calibration)
        else:
            count_weights(self.dense(), DAMAGED)
        if job.recovery is not None:
            from implementations.harness.train.recovery import check

            check(self.dense(), job.recovery)
        return samples

    def measure(
        self, job: Job, samples: Samples | None = None
    ) -> tuple[Measurements, LanguageModel]:
        """Prune, fine-tune and measure as `job` describes; return the measurements and the model.

        Without the `samples` of `prepare`, it is called here. To measure speed, the dense model is
        loaded a second time if memory has room for both.
        """
        if samples is None:
            samples = self.prepare(job)
        method, dense = job.method, self.footprint  # computed before pruning
        timer = self._timer(self.timer.seconds)
        outcome = recovered = rates = None
        with collected_warnings(shown=False) as warned, ExitStack() as writing:
            model = self.dense()
            expected = self.predictions(samples, timer) if job != DENSE_JOB else None
            if job.edits:
                self._dense = None
            if isinstance(model, StreamedModel) and method is not None:
                work = self.work or Path(
                    writing.enter_context(TemporaryDirectory(prefix="atlas-streamed-"))
                )
                writing.enter_context(model.writing(work))
            with peak_memory(self.accelerator) as pruning:
                if method is not None:
                    with timer.phase("prune", f"pruning with {method.slug()}"):
                        # Not the method's own, which could report anything.
                        outcome = Method.execute(method, model, samples.calibration, job.seed)
                if job.recovery is not None:
                    recovered = self._recover(model, job, samples, expected, timer)
            trim_memory()
            with peak_memory(self.accelerator) as evaluating:
                values, dense_values, sample = self._quality(model, job, samples, expected, timer)
            if method is not None and outcome is not None and not method.capabilities.sets_weights:
                outcome = method.counted(model, outcome)
            size = dense
            if outcome is not None:
                size = footprint(model, outcome.bits, outcome.unused)
            elif recovered is not None:
                size = footprint(model)
            no_speed_reason = self._no_speed_reason(job, model, ROOM * dense.bytes)
            if not no_speed_reason:
                rates = self._speed(model, job, timer)
        measured = Measurements(
            samples=samples,
            values=values,
            dense=dense_values,
            footprint=size,
            sample=sample,
            peak=(pruning if job.edits else evaluating).peak,
            seconds=timer.seconds,
            outcome=outcome,
            speed=rates,
            no_speed_reason=no_speed_reason,
            warnings=tuple(dict.fromkeys(warned)),
            recovered=recovered,
        )
        return measured, model

    def record(self, job: Job, measured: Measurements, dense: Record | None) -> Record:
        """Build the record of a run; `dense` is the dense record, None for the dense run itself."""
        setup = self.setup
        date = datetime.now(UTC).replace(microsecond=0)
        key = self.key(job)
        run = f"{time_of(date)}-{key[:8]}"
        row = (
            Dense(run=run, values=measured.values, footprint=measured.footprint)
            if dense is None
            else Dense(
                run=dense.run, values=dense.values | measured.dense, footprint=dense.footprint
            )
        )
        head, dirty = commit()
        outcome = measured.outcome
        fields: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "run": run,
            "key": key,
            "date": date,
            "measurement": MEASUREMENT,
            "revision": job.method.revision if job.method else 1,
            "method": job.slug,
            "external": job.external,
            "granularity": granularity_of(job),
            "configuration": job.configuration,
            "changed": tuple(job.changed),
            "requested": outcome.requested if outcome else 0.0,
            "achieved": round(outcome.achieved, 12) if outcome else 0.0,
            "details": plain_json(outcome.details) if outcome else {},
            "protocol": setup.protocol,
            "seed": job.seed,
            "tasks": setup.tasks,
            "tasks_sha256": self.tasks_sha256,
            "model": self.info,
            "texts": texts_of(measured.samples, self.sampler.sources(job.streams)),
            "disjoint": measured.samples.disjoint,
            "values": measured.values,
            "dense": row,
            "footprint": measured.footprint,
            "speed": measured.speed or Speed(note=measured.no_speed_reason),
            "course": outcome.course if outcome else None,
            "recovered": measured.recovered,
            "sample": measured.sample,
            "labels": labels_of(measured.values, row.values, job.external),
            "warnings": measured.warnings,
            "seconds": measured.seconds,
            "peak": measured.peak,
            "hardware": self.hardware,
            "processes": processes() if job.method else 1,
            "versions": versions(),
            "commit": head,
            "dirty": dirty,
        }
        draft = Record.model_construct(**fields)  # name and command derive from the other fields
        return Record(**fields, name=name_of(draft), command=command_of(draft, setup.task_folder))

    def _recover(
        self,
        model: LanguageModel,
        job: Job,
        samples: Samples,
        dense: DensePredictions | None,
        timer: Timer,
    ) -> Recovered:
        """Measure the model, fine-tune it with pruned weights kept zero, return the course."""
        from implementations.harness.train.loop import training_course
        from implementations.harness.train.recovery import recover

        recovery, stream = job.recovery, samples.calibration.training
        assert recovery is not None
        assert stream is not None
        masked = job.method is not None and not job.method.capabilities.structured
        before: dict[str, float] = {}
        for metric, tokens in samples.evaluations.items():
            with timer.phase("evaluate before", f"measuring {metric} before recovery"):
                before |= quality(model, metric, tokens, dense)
        with timer.phase("recover", f"training after pruning: {recovery}"), seeded(job.seed):
            teacher = self.dense() if recovery.has_teacher else None
            losses = recover(model, recovery, stream, masked, teacher)
        windows = recovery.windows(stream.windows.ids.shape[1])
        training = training_course(losses, stream, windows)
        return Recovered(**dict(training), recovery=recovery, before=before)

    def _quality(
        self,
        model: LanguageModel,
        job: Job,
        samples: Samples,
        expected: DensePredictions | None,
        timer: Timer,
    ) -> tuple[dict[str, float], dict[str, float], str]:
        """Return the values of the model, dense values measured along with them, and a sample.

        For a method that prunes for a prompt, the first half of every window is the prompt, and
        both the pruned and the dense model are measured on the second half. For other methods the
        dense values are empty.
        """
        values: dict[str, float] = {}
        dense: dict[str, float] = {}
        for metric, tokens in samples.evaluations.items():
            if job.prompted:
                prompt = tokens.ids.shape[1] // 2
                name = AFTER_PROMPT.kind + metric[metric.index("/") :]
                with timer.phase("evaluate", f"measuring {name}"):
                    dense[name] = split_perplexity(model, tokens, prompt).value
                    with active(job, model, prompt):
                        values |= quality(model, metric, tokens, expected, prompt)
            else:
                with timer.phase("evaluate", f"measuring {metric}"), active(job, model):
                    values |= quality(model, metric, tokens, expected)
        if self.setup.tasks:
            with timer.phase("tasks", f"answering {', '.join(self.setup.tasks)}"):
                batch_size = max(TASK_BATCH, self.setup.protocol.batch_size)
                with active(job, model):
                    values |= zero_shot(model, self.tasks, batch_size=batch_size)
        generation = self.setup.protocol.generation
        if self.setup.stream:  # every token would read the whole model again
            return values, dense, generation.prompt
        within = active(job, model, len(prompt_ids(model, generation.prompt)))
        with timer.phase("generate", "generating the sample"), within:
            text = continuation(model, generation.prompt, generation.tokens).text
            sample = generation.prompt + text
        return values, dense, sample

    def _no_speed_reason(self, job: Job, model: LanguageModel, room: float) -> str:
        """Return why speed is not measured, or ''; loading a second model needs `room` bytes."""
        if job.method is None:
            return "the dense model is what others are compared with"
        if not job.method.capabilities.structured:
            return NO_SPEED_UP
        if self.setup.stream:
            return "not measured: one block at a time is read from disk"
        if not model.whole:
            return "not measured: the model moves to the accelerator block by block"
        if self._dense is None and free_memory(self.accelerator) < room:
            return "not measured: memory has no room for the dense model beside the pruned one"
        return ""

    def _speed(self, model: LanguageModel, job: Job, timer: Timer) -> Speed:
        test = self.setup.protocol.speed
        dense = self.dense()
        with timer.phase("speed", "measuring speed beside the dense model"):
            return speed(
                dense,
                model,
                prompt=test.prompt,
                tokens=test.tokens,
                batch=test.batch,
                repeats=test.repeats,
                pruned_within=partial(active, job, model, test.prompt),
            )


def _check_streamed(job: Job) -> None:
    """Raise `BadInput` for a run that needs more than one block at a time in memory."""
    if job.recovery is not None:
        raise BadInput("--recover cannot be used with --stream; fine-tune the saved model instead")
    if job.method is not None and set(job.method.capabilities.changes) - {"linears"}:
        raise BadInput(
            f"{job.slug} cannot be used with --stream, because it changes more of the model than "
            "the blocks' linear layers"
        )


def quality(
    model: LanguageModel,
    metric: str,
    tokens: Tokens,
    dense: DensePredictions | None,
    prompt: int = 0,
) -> dict[str, float]:
    """Measure the perplexity of `tokens` under the name `metric`.

    With `prompt` > 0, only predictions after that many tokens of each window count. With `dense`
    predictions, also return KL divergence and agreement.
    """
    if prompt:
        metric = AFTER_PROMPT.kind + metric[metric.index("/") :]
    if dense is None:
        return {metric: perplexity(model, tokens).value}
    measured = dense.compare(model, tokens, prompt=prompt)
    return {
        metric: measured.perplexity.value,
        beside(metric, DIVERGENCE): measured.divergence,
        beside(metric, AGREEMENT): measured.agreement,
    }


def active(job: Job, model: LanguageModel, prompt: int = 0) -> AbstractContextManager[None]:
    """Return the context in which `model`, as prepared by `job`, behaves as pruned."""
    if job.method is None or job.method.capabilities.sets_weights:
        return nullcontext()
    return job.method.active(model, prompt, job.seed)
