"""Metrics as data: which way is better, what a repetition may differ by, what it is called.

The name of a value begins with its kind: `ppl/wikipedia/1024`, `acc/arc_easy`. A new metric is
one entry in `METRICS`, beside the code that measures it; kinds without an entry are scores of
lm-eval's tasks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from implementations.harness.results.bounds import NonNegative
from implementations.harness.results.part import Part


class Tolerance(Part):
    """Largest relative difference with which a repetition still agrees."""

    same_machine: NonNegative
    elsewhere: NonNegative


# One question of twenty may come out otherwise on another machine.
QUESTIONS = Tolerance(same_machine=1e-9, elsewhere=5e-2)


@dataclass(frozen=True)
class Metric:
    """One kind of value."""

    kind: str
    """The word before the first slash of a value's name."""
    label: str
    """What readers call it."""
    unit: str = ""
    """What it is counted in; empty for a pure number."""
    lower_is_better: bool = False
    tolerance: Tolerance = QUESTIONS
    collapse: float = math.inf
    """A value over this many times the dense one has collapsed."""
    shown: bool = True
    """False for what only accompanies a value, such as the number of questions."""

    def collapsed(self, value: float, dense: float) -> bool:
        """Whether a value lies so far from the dense one that the model is of no more use."""
        return value > self.collapse * dense


PERPLEXITY = Metric(
    "ppl",
    "perplexity",
    lower_is_better=True,
    # On other hardware the last bits of a product differ, so masks differ where scores nearly tie.
    tolerance=Tolerance(same_machine=1e-4, elsewhere=1e-2),
    collapse=50,
)
AFTER_PROMPT = replace(PERPLEXITY, kind="after_prompt", label="perplexity after the prompt")
"""Of the second half of each window, for methods by which the first half chooses."""
ACHIEVED = Metric(
    "achieved", "the share removed", tolerance=Tolerance(same_machine=1e-9, elsewhere=1e-3)
)
TASK = Metric("task", "accuracy on a task")
"""What a kind without an entry is like."""

METRICS = {
    metric.kind: metric
    for metric in (
        PERPLEXITY,
        AFTER_PROMPT,
        ACHIEVED,
        Metric("acc", "accuracy"),
        # Of lm-eval's tasks on running text.
        Metric("word_perplexity", "perplexity a word", lower_is_better=True),
        Metric("byte_perplexity", "perplexity a byte", lower_is_better=True),
        Metric("bits_per_byte", "cost of the text", unit="bits a byte", lower_is_better=True),
        # What lm-eval says beside its values.
        Metric("samples", "questions", shown=False),
        Metric("version", "version of the task", shown=False),
        # What papers claim and nothing here measures under these names.
        Metric("loss", "loss", unit="nats", lower_is_better=True),
        Metric("latency", "latency", unit="s", lower_is_better=True),
        Metric("seconds", "time", unit="s", lower_is_better=True),
        Metric("speedup", "speed", unit="times dense"),
    )
}
STDERR = "_stderr"
TEXTS = {"c4": "C4", "wikitext2": "WikiText-2"}
"""Texts whose names are not written as any word is, with a capital."""


def metric(name: str) -> Metric:
    """Return the metric of a value, or of a kind, by its name."""
    kind = name.partition("/")[0].partition(":")[0]  # lm-eval's filters stand behind a colon
    if kind.endswith(STDERR):
        return replace(metric(kind.removesuffix(STDERR)), shown=False)
    return METRICS.get(kind) or replace(TASK, kind=kind, label=kind.replace("_", " "))


def headings(names: Iterable[str]) -> list[str]:
    """The values that a table shows: not what only accompanies them."""
    return [name for name in names if metric(name).shown]


def subject(name: str) -> str:
    """Name the text or task of a value: `ppl/wikipedia/1024` was measured on `Wikipedia`."""
    on = name.partition("/")[2].partition("/")[0]
    return TEXTS.get(on) or (on.capitalize() if on.isalpha() else on)


def title(name: str) -> str:
    """Name a value in full: `Perplexity, Wikipedia`, `Cost of the text (bits a byte), C4`."""
    what = metric(name)
    unit = f" ({what.unit})" if what.unit else ""
    return ", ".join(filter(None, (what.label[:1].upper() + what.label[1:] + unit, subject(name))))
