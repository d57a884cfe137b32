"""Comparison of a recorded value with its repetition: difference, bounds, description."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from implementations.harness.results.field_types import one_line

Grade = Literal["narrow", "wide", "off"]
"""The narrowest bound that a difference is within."""


class Bounds(NamedTuple):
    """Largest relative difference on the machine of the record (narrow) and on another (wide)."""

    narrow: float
    wide: float


EXACT = Bounds(0.0, 0.0)
COUNTS = Bounds(0.0, 1e-2)  # another machine may break near ties between scores differently
SENSITIVE = Bounds(1e-4, math.inf)  # depends on the last bits, so another machine may differ freely


@dataclass(frozen=True)
class Comparison:
    """One recorded value and the repeated one; None where a side lacks the value."""

    name: str
    recorded: Any
    again: Any
    bounds: Bounds

    @property
    def difference(self) -> float:
        """The `relative_difference` of the two values."""
        return relative_difference(self.recorded, self.again)

    @property
    def grade(self) -> Grade:
        """The narrowest bound that the difference is within."""
        if self.difference <= self.bounds.narrow:
            return "narrow"
        return "wide" if self.difference <= self.bounds.wide else "off"

    @property
    def measured(self) -> bool:
        """Whether this is a measured number, which differs in its last bits between machines."""
        return self.bounds.narrow > 0 and self.bounds != SENSITIVE

    def __str__(self) -> str:
        return describe_difference(self.name, self.recorded, self.again)


def relative_difference(recorded: Any, again: Any) -> float:
    """Return the largest relative difference between the numbers of two JSON values.

    It is absolute where the recorded number is 0, and infinite if anything but numbers differs.
    """
    if isinstance(recorded, dict) and isinstance(again, dict):
        same = recorded.keys() == again.keys()
        pairs = [(value, again[name]) for name, value in recorded.items()] if same else []
    elif isinstance(recorded, list) and isinstance(again, list):
        same = len(recorded) == len(again)
        pairs = list(zip(recorded, again, strict=True)) if same else []
    elif _number(recorded) and _number(again):
        return float(abs(again - recorded) / (abs(recorded) or 1.0))
    else:
        same, pairs = (type(recorded), recorded) == (type(again), again), []
    return max((relative_difference(*pair) for pair in pairs), default=0.0) if same else math.inf


def describe_difference(name: str, recorded: Any, again: Any) -> str:
    """Return a line that shows both values, from shortly before the first difference."""
    texts = [json.dumps(value, ensure_ascii=False) for value in (recorded, again)]
    first = next((i for i, (a, b) in enumerate(zip(*texts, strict=False)) if a != b), 0)
    before, now = (excerpt(text, max(0, first - 20)) for text in texts)
    return f"{one_line(name)}: {before} in the record, {now} now"


def describe_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Yield one line per entry that differs between two mappings."""
    for name in dict.fromkeys((*before, *now)):
        if before.get(name) != now.get(name):
            yield describe_difference(name, before.get(name), now.get(name))


def excerpt(text: str, start: int = 0) -> str:
    """Return up to 80 characters of `text` from `start` on, as one line."""
    cut = text[start : start + 80]
    return one_line("…" * (start > 0) + cut + "…" * (start + 80 < len(text)))


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
