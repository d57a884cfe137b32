"""Adapter for lm-eval: evaluates models in memory, reports progress and restores global state.

Only imported for zero-shot tasks, because lm-eval is an optional dependency (extra `eval`).
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
from torch import nn
from tqdm import tqdm  # type: ignore[import-untyped]

from implementations.harness.download.hub import require_hub
from implementations.harness.errors import (
    AtlasError,
    BadInput,
    NumericsError,
    Unavailable,
    in_short,
)
from implementations.harness.measure.generation import on_accelerator
from implementations.harness.model.execution import way_out
from implementations.harness.model.view import LanguageModel, preserved
from implementations.harness.progress import track
from implementations.harness.results.reading import read_text

SEED = 1234  # the default of lm-eval
BOOTSTRAPS = 1000  # resamples for standard errors without a formula


class Adapter(HFLM):
    """lm-eval model that reports progress and raises for NaN and infinity among the logits."""

    def __init__(self, model: LanguageModel, batch_size: int) -> None:
        # lm-eval adds a padding token to the tokenizer.
        tokenizer = copy.deepcopy(model.tokenizer)
        super().__init__(pretrained=model.hf, tokenizer=tokenizer, batch_size=batch_size)

    def loglikelihood(self, requests: list[Any], *args: Any, **kwargs: Any) -> list[Any]:
        """Answer `requests` and report each as progress."""
        return self._tracked(super().loglikelihood, requests, *args, **kwargs)

    def loglikelihood_rolling(self, requests: list[Any], *args: Any, **kwargs: Any) -> list[Any]:
        """Answer `requests` and report each as progress."""
        return self._tracked(super().loglikelihood_rolling, requests, *args, **kwargs)

    def generate_until(self, requests: list[Any], *args: Any, **kwargs: Any) -> list[Any]:
        """Answer `requests` and report each as progress."""
        return self._tracked(super().generate_until, requests, *args, **kwargs)

    def _tracked(self, answer: Any, requests: list[Any], *args: Any, **kwargs: Any) -> list[Any]:
        self.set_cache_hook(Ticker(track(range(len(requests)), "answering")))
        hook = self.model.register_forward_hook(check_logits)
        try:
            answers: list[Any] = answer(requests, *args, **kwargs)
        finally:
            hook.remove()
            self.set_cache_hook(CacheHook(None))
        return answers


def check_logits(_: nn.Module, __: Any, output: Any) -> None:
    """Raise `NumericsError` if the logits `[batch, length, vocabulary]` have NaN or infinity."""
    if bool((output.logits.isnan() | output.logits.isposinf()).any()):
        raise NumericsError(f"the logits contain NaN or infinity; {way_out(output.logits.dtype)}")


class Ticker(CacheHook):
    """Cache hook that counts answers, because lm-eval passes each new answer to its cache."""

    def __init__(self, steps: Iterator[int]) -> None:
        super().__init__(None)
        self.steps = steps
        next(steps, None)

    def add_partial(self, *_: Any) -> None:
        """Count one answer."""
        next(self.steps, None)


def managers(task_folder: Path | str | None) -> Iterator[TaskManager]:
    """Yield a manager of the task files in `task_folder`, then one that also has lm-eval's own.

    The second reads 14,000 files, which takes seconds. lm-eval skips files that it cannot read, so
    a task unknown to both may be in one of those: requesting a third manager raises `BadInput` with
    the name of such a file.
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
    except Exception as error:  # such as task names that are numbers and cannot be sorted
        if folder:
            _check_files(Path(folder))
        raise BadInput(f"lm-eval cannot read its task files: {in_short(error)}") from error


class _Names(yaml.SafeLoader):
    """Loader for the names in a task file; `!function` tags stay text."""


_Names.add_constructor("!function", lambda _, node: str(node.value))


def _check_files(folder: Path) -> None:
    """Raise `BadInput` for the first task file that cannot be read, without running its code."""
    for path in sorted(folder.rglob("*.yaml")):
        try:
            content = yaml.load(read_text(path), Loader=_Names)
        except yaml.YAMLError as error:
            raise BadInput(f"the task file {path} is not valid YAML: {in_short(error)}") from error
        if not isinstance(content, dict):
            raise BadInput(f"the task file {path} must contain a mapping")
        for field in ("task", "group", "tag", "include"):
            names = content.get(field)
            for name in names if isinstance(names, list) else [names]:
                if not isinstance(name, str | dict | None):
                    raise BadInput(
                        f"the task file {path}: {field} {name} is not text; put it in quotes"
                    )
                if field == "include" and name and not (path.parent / str(name)).is_file():
                    raise BadInput(f"the task file {path} includes {name}, which does not exist")


def load(manager: TaskManager, task: str) -> Any:
    """Load a task or group with its data; missing data is downloaded from the hub.

    Runs Python code that the task's file names.

    Raises:
        Unavailable: the hub is needed but cannot be reached (within 10 seconds).
        BadInput: the task or its data cannot be read, or it runs code of the model or needs more
            than text.
    """
    loaded = _load(manager, task)
    for name, one in loaded["tasks"].items():
        if getattr(one, "UNSAFE_CODE", False):
            raise BadInput(f"task {name} runs code that the model writes, which is not supported")
        if getattr(one, "MULTIMODAL", False):
            raise BadInput(f"task {name} needs images or sound, which is not supported")
    return loaded


def _load(manager: TaskManager, task: str) -> Any:
    try:
        try:
            with cache_only():
                return _set_up(manager.load([task]))
        except (ConnectionError, ValueError) as error:  # not or only partly in the cache
            _require_data(task, error)
        return _set_up(manager.load([task]))
    except Unavailable:
        raise
    except Exception as error:  # the task's own code and lm-eval's libraries can raise anything
        raise BadInput(f"task {task!r} cannot be loaded: {in_short(error)}") from error


def _require_data(task: str, error: Exception) -> None:
    try:
        require_hub(f"the data of task {task!r}")
    except Unavailable as unavailable:
        raise Unavailable(f"{unavailable} lm-eval said: {in_short(error)}") from error


def evaluate(
    model: LanguageModel, loaded: Sequence[Any], limit: int | None, batch_size: int
) -> Iterator[dict[str, Any]]:
    """Yield lm-eval's results for each loaded task.

    Raises `BadInput` if a task's own code or template fails on a question.
    """
    with preserved(model), on_accelerator(model):
        adapter = Adapter(model, batch_size)
        for task in loaded:
            try:
                results = run(
                    adapter, task, limit=limit, log_samples=False, bootstrap_iters=BOOTSTRAPS
                )
            except (AtlasError, RuntimeError):  # from the harness and torch
                raise
            except Exception as error:  # the task's own code can raise anything
                names, kind = in_short(", ".join(task["tasks"])), type(error).__name__
                raise BadInput(f"task {names} fails: {kind}: {in_short(error)}") from error
            yield results


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress lm-eval's progress bars and log messages below errors."""
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
    """Make the Hugging Face libraries use only the local cache, as `HF_HUB_OFFLINE` does."""
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
