"""Properties of each metric: direction, tolerance of a repetition, label and unit.

The name of a value starts with the kind of its metric: `ppl/wikipedia/1024`, `acc/arc_easy`. To add
a metric, add an entry to `METRICS` and the code that measures it. A kind without an entry is a
score of an lm-eval task.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from implementations.harness.results.reading import NonNegative, StrictModel


class Tolerance(StrictModel):
    """Largest relative difference at which a repetition still agrees with the record."""

    same_machine: NonNegative
    elsewhere: NonNegative


# On another machine, one question in twenty may get another answer.
QUESTIONS = Tolerance(same_machine=1e-9, elsewhere=5e-2)
TIE = 0.05
"""Losses that differ by at most this share of the larger one are equal.

About two standard deviations over seeds, and over vector widths; `tools/measure_spread.py` measures
them. The loss of a perplexity is the cross-entropy that pruning added: the logarithm of its ratio
to dense, in nats per token.
"""
LEAST_TIE = 0.002
"""Perplexities that differ by at most this share are equal, however little the model lost."""


def tie(ratio: float) -> float:
    """Return the share by which equal perplexities differ at most, at `ratio` times the dense one.

    It is 1 % at 1.2 times dense, 3 % at twice, 11 % at ten times and 18 % at 50 times.
    """
    return max(LEAST_TIE, 1 - ratio**-TIE) if ratio > 1 else LEAST_TIE


@dataclass(frozen=True)
class Metric:
    """One kind of value."""

    kind: str
    """The part of a value's name before the first slash."""
    label: str
    """Name for readers."""
    unit: str = ""
    """Empty for a pure number."""
    lower_is_better: bool = False
    tolerance: Tolerance = QUESTIONS
    collapse: float = math.inf
    """A model has collapsed if its value exceeds the dense one by more than this factor."""
    range: tuple[float, float] = (-math.inf, math.inf)
    """Lowest and highest possible value."""
    relative: bool = True
    """Whether the ratio to the dense model's value means something."""
    shown: bool = True
    """False for a value that only accompanies another, such as the number of questions."""
    heading: str = ""
    """Short name; without one, a value is named by its text."""
    format: Callable[[float], str] | None = None
    """Writes a value for readers; without it, each table has its own number of digits."""

    def collapsed(self, value: float, dense: float) -> bool:
        """Whether a value exceeds the dense one by more than the factor `collapse`."""
        return value > self.collapse * dense


def significant(value: float) -> str:
    """Write a number with three significant digits: `0.500`, `12.3`."""
    return f"{value:#.3g}".rstrip(".")


def percentage(value: float) -> str:
    """Write a share in per cent with one decimal: `71.2 %`."""
    return f"{100 * value:.1f} %"


PERPLEXITY = Metric(
    "ppl",
    "perplexity",
    lower_is_better=True,
    # Other hardware differs in the last bits, which changes the mask where scores nearly tie. What
    # this does to a pruned model grows with its loss, see `tie`.
    tolerance=Tolerance(same_machine=1e-6, elsewhere=1e-2),
    collapse=50,
    range=(1, math.inf),
)
AFTER_PROMPT = replace(PERPLEXITY, kind="after_prompt", label="perplexity after the prompt")
"""Perplexity of the second half of each window, for methods that use the first as a prompt."""
PERPLEXITIES = (PERPLEXITY.kind, AFTER_PROMPT.kind)
DIVERGENCE = Metric(
    "kl",
    "KL divergence from dense",
    unit="nats per token",
    lower_is_better=True,
    tolerance=Tolerance(same_machine=1e-6, elsewhere=TIE),
    range=(0, math.inf),
    relative=False,
    heading="KL",
    format=significant,
)
AGREEMENT = Metric(
    "agreement",
    "top-1 agreement with dense",
    tolerance=Tolerance(same_machine=1e-6, elsewhere=TIE),
    range=(0, 1),
    relative=False,
    heading="agreement",
    format=percentage,
)
DIVERGENCE_AFTER_PROMPT = replace(
    DIVERGENCE, kind="kl_after_prompt", label="KL divergence after the prompt"
)
AGREEMENT_AFTER_PROMPT = replace(
    AGREEMENT, kind="agreement_after_prompt", label="top-1 agreement after the prompt"
)
ACHIEVED = Metric(
    "achieved", "the share removed", tolerance=Tolerance(same_machine=1e-9, elsewhere=1e-3)
)
TASK = Metric("task", "accuracy on a task")
"""Properties of a kind without an entry."""

METRICS = {
    metric.kind: metric
    for metric in (
        PERPLEXITY,
        AFTER_PROMPT,
        DIVERGENCE,
        AGREEMENT,
        DIVERGENCE_AFTER_PROMPT,
        AGREEMENT_AFTER_PROMPT,
        ACHIEVED,
        Metric("acc", "accuracy"),
        # Perplexity tasks of lm-eval.
        Metric("word_perplexity", "perplexity per word", lower_is_better=True),
        Metric("byte_perplexity", "perplexity per byte", lower_is_better=True),
        Metric("bits_per_byte", "cost of the text", unit="bits per byte", lower_is_better=True),
        # Reported by lm-eval with its values.
        Metric("samples", "questions", shown=False),
        Metric("version", "version of the task", shown=False),
        # Found in papers, not measured here.
        Metric("loss", "loss", unit="nats", lower_is_better=True),
        Metric("latency", "latency", unit="s", lower_is_better=True),
        Metric("seconds", "time", unit="s", lower_is_better=True),
        Metric("speedup", "speed", unit="times dense"),
    )
}
STDERR = "_stderr"
TEXTS = {"c4": "C4", "wikitext2": "WikiText-2"}
"""Texts whose display name is not just their capitalised name."""


def metric(name: str) -> Metric:
    """Return the metric for the name of a value or of a kind."""
    kind = name.partition("/")[0].partition(":")[0]  # a colon separates the filter of lm-eval
    if kind.endswith(STDERR):
        return replace(metric(kind.removesuffix(STDERR)), shown=False)
    return METRICS.get(kind) or replace(TASK, kind=kind, label=kind.replace("_", " "))


def beside(name: str, kind: Metric) -> str:
    """Return the name of the `DIVERGENCE` or `AGREEMENT` that is measured with a perplexity."""
    perplexity, _, text = name.partition("/")
    after = f"_{perplexity}" if perplexity == AFTER_PROMPT.kind else ""
    return f"{kind.kind}{after}/{text}"


def headings(names: Iterable[str]) -> list[str]:
    """Select the values that a table shows."""
    return [name for name in names if metric(name).shown]


def subject(name: str) -> str:
    """Return the text or task of a value: `Wikipedia` for `ppl/wikipedia/1024`."""
    on = name.partition("/")[2].partition("/")[0]
    return TEXTS.get(on) or (on.capitalize() if on.isalpha() else on)


def title(name: str) -> str:
    """Return the full title of a value, such as `Perplexity, Wikipedia`."""
    kind = metric(name)
    unit = f" ({kind.unit})" if kind.unit else ""
    return ", ".join(filter(None, (kind.label[:1].upper() + kind.label[1:] + unit, subject(name))))
