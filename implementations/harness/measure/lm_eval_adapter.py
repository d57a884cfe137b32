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
from huggingface_hub import constants
from lm_eval.api.model import CacheHook
from lm_eval.evaluator import evaluate as run
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from torch import Tensor
from tqdm import tqdm  # type: ignore[import-untyped]

from implementations.harness.download.hub import require_hub
from implementations.harness.errors import BadInput, NumericsError, Unavailable
from implementations.harness.measure.forward import on_accelerator
from implementations.harness.model.view import LanguageModel, preserved
from implementations.harness.progress import track

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

    In this order because reading lm-eval's 14,000 takes seconds.
    """
    folder = None if task_folder is None else str(task_folder)
    if folder:
        yield TaskManager(include_path=folder, include_defaults=False)
    yield TaskManager(include_path=folder)


def load(manager: TaskManager, task: str) -> Any:
    """Load a task or group with its data, from the hub only what is not on this machine.

    Raises `Unavailable` within 10 seconds where the hub is needed and out of reach, `BadInput`
    where the task or its data cannot be read.
    """
    try:
        try:
            with cache_only():
                return _set_up(manager.load([task]))
        except (ConnectionError, ValueError):  # not in the cache, or only other parts of it
            require_hub(f"the data of task {task!r}")
        return _set_up(manager.load([task]))
    except Unavailable:
        raise
    except Exception as error:  # whatever a task's own code and the libraries below raise
        raise BadInput(f"task {task!r} cannot be loaded: {error}") from error


def evaluate(
    model: LanguageModel, loaded: Sequence[Any], limit: int | None, batch_size: int
) -> Iterator[dict[str, Any]]:
    """Yield lm-eval's results of each of the `loaded` tasks."""
    with preserved(model), on_accelerator(model):
        adapter = Adapter(model, batch_size)
        for task in loaded:
            yield run(adapter, task, limit=limit, log_samples=False, bootstrap_iters=BOOTSTRAPS)


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
