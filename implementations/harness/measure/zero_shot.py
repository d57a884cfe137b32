"""Zero-shot accuracy on lm-eval tasks, measured on the model in memory."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from implementations.harness.errors import BadInput, Unavailable, unknown_name
from implementations.harness.model.execution import seeded
from implementations.harness.model.view import LanguageModel
from implementations.harness.progress import track
from implementations.harness.results.files import short_path

if TYPE_CHECKING:
    from lm_eval.tasks import TaskManager


def load_tasks(tasks: Sequence[str], task_folder: Path | str | None = None) -> list[Any]:
    """Load tasks or groups of tasks with their data, by their names in lm-eval.

    `task_folder` has your own task files, which take precedence. They may read any data on this
    machine, and code that they name is run, so only use files that you trust. Data that is not in
    the local cache is downloaded from the hub.

    Raises:
        Unavailable: lm-eval is missing, or the hub cannot be reached (within 10 seconds).
        BadInput: a task is unknown or cannot be read.
    """
    if not tasks:
        raise BadInput("tasks: no task given; give at least one, such as arc_easy")
    if task_folder is not None and not Path(task_folder).is_dir():
        raise BadInput(
            f"--task-folder: {short_path(task_folder)} is not a folder; give the folder with the "
            "task files"
        )
    try:
        from implementations.harness.measure import lm_eval_adapter as lm_eval
    except ModuleNotFoundError as error:
        raise Unavailable(
            f"zero-shot tasks need lm-eval, but {error.name} is not installed; run "
            "`pip install 'pruning-atlas[eval]'`"
        ) from error
    with lm_eval.quiet(), seeded(lm_eval.SEED, python=0):
        manager = find(tasks, lm_eval.managers(task_folder))
        return [lm_eval.load(manager, task) for task in track(tasks, "loading the tasks")]


def questions_sha256(loaded: Sequence[Any]) -> str:
    """Hash the questions of the tasks that `load_tasks` returned."""
    from implementations.harness.measure import lm_eval_adapter as lm_eval

    digest = hashlib.sha256()
    with lm_eval.quiet(), seeded(lm_eval.SEED, python=0):
        for group in loaded:
            for name, task in group["tasks"].items():
                for question in task.eval_docs:
                    digest.update(f"{name} {question!r}\n".encode())
    return digest.hexdigest()


def zero_shot(
    model: LanguageModel, loaded: Sequence[Any], limit: int | None = None, batch_size: int = 4
) -> dict[str, float]:
    """Measure the tasks that `load_tasks` returned zero-shot, without examples in the prompt.

    Returns values such as `acc/arc_easy` and `acc_norm/arc_easy`, standard errors
    (`acc_stderr/arc_easy`), the number of questions (`samples/arc_easy`) and the version of the
    task (`version/arc_easy`). `limit` restricts each task to its first questions.

    Raises:
        BadInput: the model has no tokenizer, or a task's own code fails.
        NumericsError: NaN or infinity among the logits.
    """
    if limit is not None and limit < 1:
        raise BadInput(f"limit must be at least 1, or None for all questions, got {limit}")
    if model.tokenizer is None:
        raise BadInput(f"{model.name} has no tokenizer, so it cannot answer questions; add one")
    from implementations.harness.measure import lm_eval_adapter as lm_eval

    values: dict[str, float] = {}
    with lm_eval.quiet(), seeded(lm_eval.SEED, python=0):
        for results in lm_eval.evaluate(model, loaded, limit, batch_size):
            values |= dict(named(results))
    return values


def find(tasks: Sequence[str], managers: Iterator[TaskManager]) -> TaskManager:
    """Return the first manager that knows all `tasks`; raises `BadInput` for an unknown one."""
    for manager in managers:
        unknown = [task for task in tasks if task not in manager.all_tasks]
        if not unknown:
            return manager
    raise BadInput(unknown_name(unknown[0], manager.all_tasks, "task"))


def named(results: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield names and values from lm-eval's results.

    lm-eval's keys have the form `metric,filter`; the name omits the default filter `none`. Values
    that are not finite numbers, such as the standard error over one question, are omitted.
    """
    rows = results["results"] | results.get("groups", {})
    for task, row in rows.items():
        values = {key: value for key, value in row.items() if "," in key}
        values["version"] = results["versions"].get(task)
        values["samples"] = results["n-samples"].get(task, {}).get("effective")
        for key, value in values.items():
            metric = key.removesuffix(",none").replace(",", ":")
            if _is_number(value):
                yield f"{metric}/{task}", float(value)


def _is_number(value: Any) -> bool:
    try:
        return math.isfinite(float(value))
    except (TypeError, ValueError):
        return False
