"""Two plain values beside each other: how far apart they are, and whether that is within bounds."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from implementations.harness.results.bounds import one_line

Grade = Literal["narrow", "wide", "off"]
"""Which tolerance a difference is within."""


class Held(NamedTuple):
    """Largest difference on the machine that the record names, and on another."""

    narrow: float
    wide: float


EXACT = Held(0.0, 0.0)
COUNTED = Held(0.0, 1e-2)  # where scores nearly tie, other units may go on another machine
FOLLOWS = Held(1e-4, math.inf)  # from the last bits of numbers, so that it may turn out otherwise


@dataclass(frozen=True)
class Comparison:
    """A part of the record beside what it should be; None where one of them lacks it."""

    name: str
    recorded: Any
    again: Any
    held: Held

    @property
    def difference(self) -> float:
        """The largest of any number, relative to the recorded one; infinite for other words."""
        return apart(self.recorded, self.again)

    @property
    def grade(self) -> Grade:
        """The tolerance that it is within."""
        if self.difference <= self.held.narrow:
            return "narrow"
        return "wide" if self.difference <= self.held.wide else "off"

    @property
    def measured(self) -> bool:
        """Whether it is a number that no two machines give to the last bit."""
        return self.held.narrow > 0 and self.held != FOLLOWS

    def __str__(self) -> str:
        return said(self.name, self.recorded, self.again)


def apart(recorded: Any, again: Any) -> float:
    """The largest relative difference of numbers in two plain values, absolute where one is 0.

    Infinite where they differ in anything else.
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
    return max((apart(*pair) for pair in pairs), default=0.0) if same else math.inf


def said(name: str, recorded: Any, again: Any) -> str:
    """Say in a line that something differs, from where it does."""
    texts = [json.dumps(value, ensure_ascii=False) for value in (recorded, again)]
    alike = next((i for i, (a, b) in enumerate(zip(*texts, strict=False)) if a != b), 0)
    before, now = (short(text, max(0, alike - 20)) for text in texts)
    return f"{one_line(name)}: {before} in the record, {now} now"


def differ(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Say what differs in two mappings, a line each."""
    for name in dict.fromkeys((*before, *now)):
        if before.get(name) != now.get(name):
            yield said(name, before.get(name), now.get(name))


def short(text: str, start: int = 0) -> str:
    """Return a piece of a text that fits on a line, from `start` on."""
    cut = text[start : start + 80]
    return one_line("…" * (start > 0) + cut + "…" * (start + 80 < len(text)))


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
