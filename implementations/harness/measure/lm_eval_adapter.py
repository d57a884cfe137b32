"""lm-eval behind the harness's manners: a model in memory, no bars of its own, no seed left behind.

Imported only where zero-shot tasks are asked for: lm-eval is an extra (`eval`).
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import datasets
import yaml
from huggingface_hub import constants
from lm_eval.api.model import CacheHook
from lm_eval.evaluator import evaluate as run
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from torch import Tensor
from tqdm import tqdm  # type: ignore[import-untyped]

from implementations.harness.download.hub import require_hub
from implementations.harness.errors import (
    AtlasError,
    BadInput,
    NumericsError,
    Unavailable,
    in_short,
)
from implementations.harness.measure.forward import on_accelerator
from implementations.harness.model.view import LanguageModel, preserved
from implementations.harness.progress import track
from implementations.harness.results.reading import read_text

SEED = 1234  # lm-eval's own
BOOTSTRAPS = 1000  # resamples for the standard errors that have no formula


class Adapter(HFLM):
    """lm-eval's adapter for models in memory: reports progress and refuses NaN."""

    def __init__(self, model: LanguageModel, batch_size: int) -> None:
        # A copy of the tokenizer, since lm-eval gives it a padding token.
        tokenizer = copy.deepcopy(model.tokenizer)
        super().__init__(pretrained=model.hf, tokenizer=tokenizer, batch_size=batch_size)

    def loglikelihood(self, requests: list[Any], *args: Any, **kwargs: Any) -> list[Any]:
        """Answer `requests`, telling the reporter after each."""
        return self._told(super().loglikelihood, requests, *args, **kwargs)

    def loglikelihood_rolling(self, requests: list[Any], *args: Any, **kwargs: Any) -> list[Any]:
        """Answer `requests`, telling the reporter after each."""
        return self._told(super().loglikelihood_rolling, requests, *args, **kwargs)

    def generate_until(self, requests: list[Any], *args: Any, **kwargs: Any) -> list[Any]:
        """Answer `requests`, telling the reporter after each."""
        return self._told(super().generate_until, requests, *args, **kwargs)

    def _told(self, answer: Any, requests: list[Any], *args: Any, **kwargs: Any) -> list[Any]:
        self.set_cache_hook(Ticker(track(range(len(requests)), "answering")))
        try:
            answers: list[Any] = answer(requests, *args, **kwargs)
        finally:
            self.set_cache_hook(CacheHook(None))
        return answers

    def _model_call(self, *args: Any, **kwargs: Any) -> Tensor:
        logits: Tensor = super()._model_call(*args, **kwargs)  # [batch, length, vocabulary]
        if logits.isnan().any():
            raise NumericsError(
                "the logits contain NaN; load the model in a wider dtype (--dtype float32) "
                "or prune less"
            )
        return logits


class Ticker(CacheHook):
    """lm-eval offers each answer to a cache as soon as it is there: a place to count them."""

    def __init__(self, steps: Iterator[int]) -> None:
        super().__init__(None)
        self.steps = steps
        next(steps, None)

    def add_partial(self, *_: Any) -> None:
        """Count one answer."""
        next(self.steps, None)


def managers(task_folder: Path | str | None) -> Iterator[TaskManager]:
    """Yield who knows the task files: those of `task_folder`, then lm-eval's with them.

    In this order because reading lm-eval's 14,000 takes seconds. lm-eval passes over files that it
    cannot read, so a task that neither knows may be in one of them: asked for a third, this raises
    `BadInput` naming that file.
    """
    folder = None if task_folder is None else str(task_folder)
    if folder:
        yield _manager(folder, include_defaults=False)
    yield _manager(folder)
    if folder:
        _check_files(Path(folder))


def _manager(folder: str | None, *, include_defaults: bool = True) -> TaskManager:
    try:
        return TaskManager(include_path=folder, include_defaults=include_defaults)
    except Exception as error:  # names that are numbers or dates, and cannot be sorted
        if folder:
            _check_files(Path(folder))
        raise BadInput(f"lm-eval cannot read its task files: {in_short(error)}") from error


class _Names(yaml.SafeLoader):
    """Reads a task file for its names; a function in it stays the name of one."""


_Names.add_constructor("!function", lambda _, node: str(node.value))


def _check_files(folder: Path) -> None:
    """Raise `BadInput` for the first task file that cannot be read; nothing in it is run."""
    for path in sorted(folder.rglob("*.yaml")):
        try:
            content = yaml.load(read_text(path), Loader=_Names)
        except yaml.YAMLError as error:
            raise BadInput(f"the task file {path} is no YAML: {in_short(error)}") from error
        if not isinstance(content, dict):
            raise BadInput(f"the task file {path} is no mapping")
        for field in ("task", "group", "tag", "include"):
            names = content.get(field)
            for name in names if isinstance(names, list) else [names]:
                if not isinstance(name, str | dict | None):
                    raise BadInput(f"the task file {path}: {field} {name} is no text; quote it")
                if field == "include" and name and not (path.parent / str(name)).is_file():
                    raise BadInput(f"the task file {path} includes {name}, which is not there")


def load(manager: TaskManager, task: str) -> Any:
    """Load a task or group with its data, from the hub only what is not on this machine.

    Raises `Unavailable` within 10 seconds where the hub is needed and out of reach, `BadInput`
    where the task or its data cannot be read. Python that the task's file names is run.
    """
    try:
        try:
            with cache_only():
                return _set_up(manager.load([task]))
        except (ConnectionError, ValueError) as error:  # not in the cache, or only other parts
            _require_data(task, error)
        return _set_up(manager.load([task]))
    except Unavailable:
        raise
    except Exception as error:  # whatever a task's own code and the libraries below raise
        raise BadInput(f"task {task!r} cannot be loaded: {in_short(error)}") from error


def _require_data(task: str, error: Exception) -> None:
    try:
        require_hub(f"the data of task {task!r}")
    except Unavailable as unavailable:
        raise Unavailable(f"{unavailable} lm-eval said: {in_short(error)}") from error


def evaluate(
    model: LanguageModel, loaded: Sequence[Any], limit: int | None, batch_size: int
) -> Iterator[dict[str, Any]]:
    """Yield lm-eval's results of each of the `loaded` tasks.

    Raises `BadInput` where a task's own code or template fails at a question.
    """
    with preserved(model), on_accelerator(model):
        adapter = Adapter(model, batch_size)
        for task in loaded:
            try:
                found = run(
                    adapter, task, limit=limit, log_samples=False, bootstrap_iters=BOOTSTRAPS
                )
            except (AtlasError, RuntimeError):  # ours, and torch's
                raise
            except Exception as error:  # whatever the task's own code raises
                names, kind = in_short(", ".join(task["tasks"])), type(error).__name__
                raise BadInput(f"task {names} fails: {kind}: {in_short(error)}") from error
            yield found


@contextmanager
def quiet() -> Iterator[None]:
    """Keep lm-eval's bars and remarks from the terminal; its errors still come as exceptions."""
    logger = logging.getLogger("lm_eval")
    level = logger.level
    start = tqdm.__init__

    def hidden(bar: Any, *args: Any, **kwargs: Any) -> None:
        start(bar, *args, **kwargs | {"disable": True})

    logger.setLevel(logging.ERROR)
    try:
        with replaced(tqdm, "__init__", hidden):
            yield
    finally:
        logger.setLevel(level)


@contextmanager
def cache_only() -> Iterator[None]:
    """Have the hub's libraries look at this machine alone, as `HF_HUB_OFFLINE` does."""
    with ExitStack() as switches:
        for library in (constants, datasets.config):
            switches.enter_context(replaced(library, "HF_HUB_OFFLINE", True))
        yield


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Set an attribute inside the `with` block."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def _set_up(loaded: Any) -> Any:
    for task in loaded["tasks"].values():
        task.set_config(key="num_fewshot", value=0)
        task.set_fewshot_seed(seed=SEED)
    return loaded
