"""Accuracy on multiple-choice and other tasks, measured by lm-eval on the model in memory."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from implementations.harness.data.seeds import seeded
from implementations.harness.errors import BadInput, Unavailable, unknown_name
from implementations.harness.model.view import LanguageModel
from implementations.harness.progress import track

if TYPE_CHECKING:
    from lm_eval.tasks import TaskManager


def load_tasks(tasks: Sequence[str], task_folder: Path | str | None = None) -> list[Any]:
    """Load `tasks` (or groups of them) with their data; names as lm-eval's.

    `task_folder` holds task files of your own, looked at before lm-eval's. They may read data
    anywhere on this machine, and the code that they name is run: give only files that you would
    run as a program. Data that is not in the hub's cache is downloaded.

    Raises `Unavailable` where lm-eval is missing or the hub is out of reach (within 10 seconds),
    `BadInput` for an unknown task (the nearest is named) and one that cannot be read.
    """
    if not tasks:
        raise BadInput("no task asked for: name at least one, such as arc_easy")
    if task_folder is not None and not Path(task_folder).is_dir():
        raise BadInput(f"{task_folder} is not a folder: give the one that holds the task files")
    try:
        from implementations.harness.measure import lm_eval_adapter as lm_eval
    except ModuleNotFoundError as error:
        raise Unavailable(
            f"zero-shot tasks need lm-eval, and {error.name} is missing: "
            "pip install 'pruning-atlas[eval]'"
        ) from error
    with lm_eval.quiet(), seeded(lm_eval.SEED, python=0):
        manager = find(tasks, lm_eval.managers(task_folder))
        return [lm_eval.load(manager, task) for task in track(tasks, "loading the tasks")]


def questions_sha256(loaded: Sequence[Any]) -> str:
    """Hash the questions of tasks that `load_tasks` returned, wherever they were read from."""
    from implementations.harness.measure import lm_eval_adapter as lm_eval

    digest = hashlib.sha256()
    with lm_eval.quiet(), seeded(lm_eval.SEED, python=0):
        for found in loaded:
            for name, task in found["tasks"].items():
                for question in task.eval_docs:
                    digest.update(f"{name} {question!r}\n".encode())
    return digest.hexdigest()


def zero_shot(
    model: LanguageModel, loaded: Sequence[Any], limit: int | None = None, batch_size: int = 4
) -> dict[str, float]:
    """Measure tasks that `load_tasks` returned, without examples in the prompt.

    The values of a task are called `acc/arc_easy`, `acc_norm/arc_easy`; beside them stand the
    standard errors `acc_stderr/arc_easy`, the number of questions `samples/arc_easy` and the
    task's version `version/arc_easy`. `limit` takes the first questions only.

    Raises `BadInput` for a model without tokenizer and for a task whose own code fails,
    `NumericsError` for NaN among the logits.
    """
    if limit is not None and limit < 1:
        raise BadInput(f"limit is {limit}: it must be at least 1, or None for all questions")
    if model.tokenizer is None:
        raise BadInput(f"{model.name} came without a tokenizer, so it cannot read a question")
    from implementations.harness.measure import lm_eval_adapter as lm_eval

    values: dict[str, float] = {}
    with lm_eval.quiet(), seeded(lm_eval.SEED, python=0):
        for results in lm_eval.evaluate(model, loaded, limit, batch_size):
            values |= dict(named(results))
    return values


def find(tasks: Sequence[str], managers: Iterator[TaskManager]) -> TaskManager:
    """Return the first manager that knows all `tasks`; raises `BadInput` naming one unknown."""
    for manager in managers:
        unknown = [task for task in tasks if task not in manager.all_tasks]
        if not unknown:
            return manager
    raise BadInput(unknown_name(unknown[0], manager.all_tasks, "task"))


def named(results: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield names and values out of lm-eval's results.

    lm-eval's key is `metric,filter`; the filter is named only where it is not the usual `none`.
    What is not a finite number, such as the standard error of one question, is left out.
    """
    rows = results["results"] | results.get("groups", {})
    for task, row in rows.items():
        found = {key: value for key, value in row.items() if "," in key}
        found["version"] = results["versions"].get(task)
        found["samples"] = results["n-samples"].get(task, {}).get("effective")
        for key, value in found.items():
            metric = key.removesuffix(",none").replace(",", ":")
            if _is_number(value):
                yield f"{metric}/{task}", float(value)


def _is_number(value: Any) -> bool:
    try:
        return math.isfinite(float(value))
    except (TypeError, ValueError):
        return False
