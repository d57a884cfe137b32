"""Plans of a run: which methods fit a request, in which order, with which command."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from tools.site import planner
from tools.site.atlas import Atlas
from tools.site.formatting import number
from tools.site.method_candidates import PATTERN, Candidate
from tools.site.planner import DEVICES, GB, Cost, Estimate, Placement, Request
from tools.site.targets import PROMPT, VERDICTS, Verdict, result

UNITS, SINGLE = "units", "weights"
REMOVES = {UNITS: "Whole units", SINGLE: "Single weights", PATTERN: PATTERN}
"""What to remove, by its name in the address; empty stands for any."""
UNMEASURED = "not measured here, so there is nothing to estimate from"
SHOWN = 6
"""Methods that are shown at first."""
COMPARABLE = 10
"""Largest distance of a share at which speed was measured, in per cent."""
SMALL_PART = 0.1
"""Parts of the memory below this share are not named."""


@dataclass(frozen=True)
class Question(Request):
    """A request with what to remove and where the result will run."""

    removes: str = ""
    target: str = "gpu"

    @property
    def pattern(self) -> bool:
        """Whether the 2:4 pattern is asked for."""
        return self.removes == PATTERN

    @property
    def per_cent(self) -> float:
        """The share to remove in per cent."""
        return 50 if self.pattern else round(100 * self.share, 6)


@dataclass(frozen=True)
class Planned:
    """A method that can be planned."""

    slug: str
    name: str
    cost: Cost | None
    """None if there are no records to estimate from."""
    result: str
    """Kind of result without a pattern."""
    patterns: bool
    """Whether it supports the 2:4 pattern."""
    losses: dict[str, tuple[float, bool]]
    """Perplexity over dense, and whether the model collapsed; by per cent removed or pattern."""

    @property
    def units(self) -> bool:
        """Whether it removes units."""
        return self.cost is not None and self.cost.units

    @property
    def speeds(self) -> dict[str, float]:
        """Decoding speed over dense in the records, by per cent removed."""
        found: dict[str, list[float]] = {}
        for record in self.cost.basis.records if self.cost else ():
            if record.speed.decode and record.speed.quiet:
                share = f"{round(100 * record.asked, 6):g}"
                found.setdefault(share, []).append(record.speed.decode.ratio)
        return {share: median(ratios) for share, ratios in found.items()}


@dataclass(frozen=True)
class Plan:
    """The answer for one method."""

    method: Planned
    loss: str
    """Perplexity over dense at the nearest measured share, and that share; empty if none."""
    rank: tuple[float, ...]
    """Sort key."""
    verdict: Verdict
    speed: str
    """Decoding speed measured at the nearest share; empty if none."""
    reason: str
    """Why the method is excluded; empty if it fits."""
    command: str = ""
    estimate: Estimate | None = None

    @property
    def memory(self) -> str:
        """Peak memory, and the main memory beside an accelerator."""
        assert self.estimate is not None
        return gigabytes(self.estimate.peak)

    @property
    def place(self) -> str:
        """Number format, and the main memory beside an accelerator."""
        assert self.estimate is not None
        host = self.estimate.host
        beside = f"; {gigabytes(host)} of main memory" if host else ""
        return self.estimate.placement.about + beside

    @property
    def time(self) -> str:
        """Time of the whole command."""
        assert self.estimate is not None
        return duration(self.estimate.seconds)


def planned(methods: Sequence[Candidate], atlas: Atlas) -> list[Planned]:
    """Return the implemented methods among `methods`."""
    return [
        Planned(
            one.slug,
            atlas.names[one.slug],
            planner.cost(one.method),
            result(one.method, one.paper),
            one.support("patterns").get(PATTERN) == "supported",
            losses(one),
        )
        for one in methods
        if one.method
    ]


def losses(candidate: Candidate) -> dict[str, tuple[float, bool]]:
    """Return the losses by which methods are ordered, without those on texts they trained on."""
    return {
        share: (answer.ratio, answer.row.collapsed)
        for share, answer in candidate.results.items()
        if answer.ratio is not None
        and (answer.rank or answer.row.collapsed)
        and (":" not in share or share == PATTERN)
    }


def plans(methods: Sequence[Planned], question: Question) -> list[Plan]:
    """Answer for every method: first those that fit, then those that do not, in the given order.

    Methods that fit are sorted by whether they gain on the target, whether they collapsed, the
    distance of the share measured nearest, and perplexity.
    """
    answers = [plan(method, question) for method in methods]
    fitting = sorted((one for one in answers if not one.reason), key=lambda one: one.rank)
    return fitting + [one for one in answers if one.reason]


def excluded(answers: Iterable[Plan]) -> dict[str, list[Planned]]:
    """Group the methods that do not fit by the reason."""
    groups: dict[str, list[Planned]] = {}
    for one in answers:
        if one.reason:
            groups.setdefault(one.reason, []).append(one.method)
    return groups


def plan(method: Planned, question: Question) -> Plan:
    """Answer for one method."""
    kind = PATTERN if question.pattern else method.result
    verdict = VERDICTS[kind][question.target]
    loss, rank = "", (not verdict.gain, False, math.inf, math.inf)
    if near := nearest(method.losses, question):
        ratio, collapsed = method.losses[near]
        loss = f"{number(ratio)} × dense at {_unit(near)}{', collapsed' if collapsed else ''}"
        rank = (not verdict.gain, collapsed, _distance(near, question), ratio)
    speed, timed = "", nearest(method.speeds, question)
    if timed and question.target != "gguf" and _distance(timed, question) <= COMPARABLE:
        ratio = method.speeds[timed]
        speed = f"Decoding measured at {number(ratio)} × dense at {_unit(timed)} on a CPU."
    reason = mismatch(method, question, verdict)
    if method.cost is None or reason:
        return Plan(method, loss, rank, verdict, speed, reason)
    run = planner.estimate(method.cost, question)
    text = command(method, question, run.placement)
    reason = "; ".join(too_much(run, question))
    return Plan(method, loss, rank, verdict, speed, reason, text, run)


def nearest(measured: Iterable[str], question: Question) -> str:
    """Return the share measured nearest to the one asked for, or the pattern; empty if none."""
    known = [share for share in measured if (share == PATTERN) == question.pattern]
    return min(known, key=lambda share: (_distance(share, question), share), default="")


def _distance(share: str, question: Question) -> float:
    return 0.0 if share == PATTERN else abs(float(share) - question.per_cent)


def _unit(share: str) -> str:
    return share if share == PATTERN else f"{share}\N{NO-BREAK SPACE}%"


def mismatch(method: Planned, question: Question, verdict: Verdict) -> str:
    """Return why a method does not do what is asked for; empty if it does."""
    if method.cost is None:
        return UNMEASURED
    if question.removes == UNITS and not method.units:
        return "sets single weights to zero"
    if question.removes == SINGLE and method.units:
        return "removes whole units"
    if question.pattern and not method.patterns:
        return "does not support 2:4"
    return verdict.text if verdict.gain is None else ""


def too_much(estimate: Estimate, question: Question) -> list[str]:
    """Return the limits that an estimate exceeds."""
    found = []
    if estimate.peak > question.memory * GB:
        parts = sorted(estimate.parts.items(), key=lambda part: -part[1])
        named = [
            f"{label} {gigabytes(size)}"
            for label, size in parts
            if size >= SMALL_PART * estimate.peak
        ]
        found.append(f"needs {gigabytes(estimate.peak)} ({', '.join(named)})")
    if estimate.seconds > question.hours * 3600:
        found.append(f"takes {duration(estimate.seconds)}")
    return found


def command(method: Planned, question: Question, placement: Placement) -> str:
    """Return the command of a run, with the settings of the records."""
    assert method.cost is not None
    share = f"--pattern {PATTERN}" if question.pattern else f"--sparsity {question.share:g}"
    settings = [f"--set {setting}" for setting in method.cost.basis.settings]
    words = [
        f"atlas run {method.slug} --model my-model {share} --protocol {question.protocol}",
        placement.options,
        *settings,
        *([] if method.result == PROMPT else ["--save pruned"]),
    ]
    return " ".join(words)


def gigabytes(size: float) -> str:
    """Write a size in GB."""
    return f"{size / GB:.{1 if size < 100 * GB else 0}f} GB"


def duration(seconds: float) -> str:
    """Write a time in seconds, minutes or hours."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def script_data(methods: Sequence[Planned]) -> dict[str, Any]:
    """Return the coefficients for the script of the page."""
    return {
        "shapes": [
            {"billions": one.billions, "tables": 1 if one.tied else 2}
            | {letter: one.letters[letter] for letter in "Ldcakv"}
            for one in planner.SHAPES
        ],
        "texts": {
            name: dict(zip("ntu", sizes, strict=True)) for name, sizes in planner.TEXTS.items()
        },
        "devices": {
            name: {
                "rate": device.rate,
                "shared": device.shared,
                "placements": [
                    {
                        "options": one.options,
                        "bytes": one.bytes,
                        "about": one.about,
                        "whole": one.whole,
                        "terms": one.terms,
                    }
                    for one in device.placements
                ],
            }
            for name, device in DEVICES.items()
        },
        "bus": planner.BUS,
        "verdicts": VERDICTS,
        "unmeasured": UNMEASURED,
        "shown": SHOWN,
        "comparable": COMPARABLE,
        "methods": {
            one.slug: {
                "result": one.result,
                "units": one.units,
                "patterns": one.patterns,
                "losses": {
                    share: [ratio, number(ratio), collapsed]
                    for share, (ratio, collapsed) in one.losses.items()
                },
                "speeds": {share: number(speed) for share, speed in one.speeds.items()},
            }
            | (_cost_data(one.cost) if one.cost else {})
            for one in methods
        },
    }


def _cost_data(cost: Cost) -> dict[str, Any]:
    return {
        "phases": cost.phases,
        "work": cost.work,
        "moves": cost.moves,
        "movable": cost.movable,
        "backward": cost.backward,
        "settings": cost.basis.settings,
    }
