"""Choose a method: a planner for a run, and questions that exclude methods, with the reasons.

The questions come from the vocabulary, the results of the contract and the measurements. The
reasons are written here; the script of the page only combines them. `planner` has the data of the
planner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any
from urllib.parse import urlencode

from implementations.harness.results.record import NO_SPEED_UP
from tools.catalog.schema.vocabulary import UNKNOWN, vocabulary
from tools.site import planner
from tools.site.answers import Ranking, first_ranking, share_label
from tools.site.atlas import Atlas
from tools.site.formatting import number, percent
from tools.site.method_candidates import (
    KERNELS,
    OWN_KERNELS,
    PATTERN,
    SIZE,
    SPEED,
    Candidate,
    candidates,
)
from tools.site.paper_facts import CODE, code
from tools.site.render import Front, render
from tools.site.targets import TARGETS

AMOUNTS = ("20", "50", PATTERN)
"""Shares in percent and patterns to sort the methods by, if measured."""
GAIN = "Zeros alone make a model neither smaller nor faster on dense kernels."
KERNEL = "2:4 needs 2:4 kernels. Skipped tiles and activations need kernels of the method."
NOT_STATED = "the source does not say"
TESTED = (
    "Tested here with small random models; methods that are not implemented here are not tested."
)
ORDER = "Methods are sorted by the loss measured here; methods that train are listed last."
COMMON = (
    (
        "Smaller model, no gradients, implemented here, smallest loss at 20 %",
        {"gain": SIZE, "data": "forward", "code": "here", "amount": "20"},
    ),
    (
        "2:4 for hardware with kernels for it",
        {"gain": SPEED, "kernels": "only", "code": "here", "amount": PATTERN},
    ),
    ("Half of the weights set to zero", {"code": "here", "amount": "50"}),
    ("Smaller, with LoRA training afterwards", {"gain": SIZE, "repair": "low-rank"}),
    ("No calibration data", {"data": "none"}),
)
"""Common combinations of answers."""

Reason = Callable[[Candidate], str]
"""Returns why a method is excluded, or an empty text."""
FRONT = Front(
    "choose.md",
    "Choose a method",
    "Plan a pruning run for your model and GPU, and see which methods fit and why others do not.",
    styles=("css/controls.css", "css/choose.css"),
    scripts=("js/choose.js", "js/planner.js"),
    sources=("catalog/papers", "catalog/vocabulary", "implementations"),
    searched=False,
)


@dataclass(frozen=True)
class Option:
    """One answer, and the methods that it excludes."""

    value: str
    label: str
    reason: Reason
    definition: str = ""
    given: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Answers to other questions, one of which must be given; empty stands for no answer."""


@dataclass(frozen=True)
class Question:
    """One question with its answers."""

    name: str
    label: str
    options: list[Option]
    about: str = ""

    @property
    def answers(self) -> list[Option]:
        """The answers, each once."""
        return list({option.value: option for option in reversed(self.options)}.values())[::-1]


def pages(atlas: Atlas) -> Iterator[tuple[str, str]]:
    """Yield the page."""
    ranking = first_ranking(atlas)
    measured = [share for share in AMOUNTS if ranking and share in ranking.shares]
    methods = candidates(atlas, measured)
    asked = questions(methods, measured)
    section = planner_section(atlas, ranking)
    front = FRONT if section["planned"] else replace(FRONT, scripts=FRONT.scripts[:1])
    text = render(
        "choose",
        front,
        atlas,
        candidates=methods,
        questions=asked,
        common=list(common(asked)),
        amounts=measured,
        orders={
            share: {answer.method: place for place, answer in enumerate(ranking.at(share))}
            for share in measured
            if ranking
        },
        board=ranking.board if ranking else None,
        code_of=code,
        rules=rules(asked, methods),
        **section,
    )
    yield FRONT.path, text


def planner_section(atlas: Atlas, ranking: Ranking | None) -> dict[str, Any]:
    """Return the values of the planner; `planned` is empty without records to estimate from."""
    methods = candidates(atlas, ranking.shares if ranking else [])
    costs = [
        cost
        for one in methods
        if one.method and (cost := planner.cost(one.method, one.results.values()))
    ]
    return {
        "planned": [one.slug for one in methods if one.method] if costs else [],
        "plan_data": planner.script_data(methods),
        "targets": TARGETS,
        "planner": planner,
        "terms": planner.formula(costs),
        "ratios": {one.method.slug: median(planner.measured_ratios(one)) for one in costs},
    }


def questions(methods: list[Candidate], amounts: list[str]) -> list[Question]:
    """Return the questions that have an answer."""
    words = vocabulary()
    result = [
        Question("gain", "Size or speed?", list(_gain()), GAIN),
        Question("kernels", "Special kernels?", list(_kernels()), KERNEL),
        Question(
            "data",
            "Which data can you provide?",
            list(_at_most("calibration", "needs")),
            words["calibration"].about,
        ),
        Question(
            "repair",
            "How much recovery can you afford?",
            list(_at_most("recovery", "needs recovery by")),
            words["recovery"].about,
        ),
        Question("family", "Which model family?", list(_families(methods)), TESTED),
        Question("code", "Is code needed?", list(_code()), "By the authors, by others, or ours."),
        Question("amount", "How much to remove?", [_amount(share) for share in amounts], ORDER),
    ]
    return [question for question in result if question.options]


def _gain() -> Iterator[Option]:
    def unless_gained(wanted: tuple[str, ...]) -> Reason:
        return lambda one: "" if set(wanted) & set(one.gains) else _no_gain(one, wanted)

    dense, pattern, own = ("", "no"), ("yes", "only"), ("own",)
    size, speed = "A smaller model", "A faster model"
    for value, label, about, kernels, *wanted in (
        (SIZE, size, "Fewer weights to store.", dense, SIZE),
        (SIZE, size, "Fewer weights to store.", pattern + own, SIZE, KERNELS),
        (SPEED, speed, "More tokens per second.", dense, SPEED),
        (SPEED, speed, "More tokens per second.", pattern, SPEED, KERNELS),
        (SPEED, speed, "More tokens per second.", own, SPEED, KERNELS, OWN_KERNELS),
    ):
        yield Option(value, label, unless_gained(tuple(wanted)), about, {"kernels": kernels})


def _no_gain(one: Candidate, wanted: tuple[str, ...]) -> str:
    if UNKNOWN in one.granularity:
        return NOT_STATED
    if SIZE in wanted and one.per_input:
        return "selects units for each input, so the whole model stays in memory"
    if one.typical and "structured" in one.granularity:
        return f"{one.typical.settings}: {_measured_gains(one)} on {one.typical.first.model.name}"
    if OWN_KERNELS in one.gains:
        return f"{' and '.join(one.granularity)}: faster only with its own kernels"
    return f"{' and '.join(one.granularity)}: {NO_SPEED_UP}"


def _measured_gains(one: Candidate) -> str:
    words = {SIZE: ("fewer parameters", "more parameters"), SPEED: ("faster", "slower")}
    return ", ".join(
        f"{percent(abs(value))} {words[gain][value < 0]}" for gain, value in one.measured.items()
    )


def _kernels() -> Iterator[Option]:
    def only_patterns(one: Candidate) -> str:
        without = one.gains and not {SIZE, SPEED} & set(one.gains)
        return "faster only with kernels for its pattern" if without else ""

    def no_pattern(one: Candidate) -> str:
        if KERNELS not in one.gains:
            return NOT_STATED if UNKNOWN in one.granularity else "supports no N:M pattern"
        return ""

    yield Option("no", "None", only_patterns)
    yield Option("yes", "For 2:4", lambda _: "", "Available on some hardware.")
    yield Option("only", "Must use 2:4", no_pattern, "Only methods that support 2:4.")
    yield Option("own", "Kernels of the method", lambda _: "", "For skipped tiles or activations.")


def _at_most(name: str, verb: str) -> Iterator[Option]:
    """Yield one answer per word, which excludes the more expensive words after it.

    Every answer excludes methods whose source does not state the word.
    """
    terms = [term for term in vocabulary()[name].terms.values() if term.word != UNKNOWN]
    for place, term in enumerate(terms[:-1]):
        costlier = {later.word: later.label for later in terms[place + 1 :]}

        def reason(one: Candidate, costlier: dict[str, str] = costlier) -> str:
            word = one.word(name)
            if not word:
                return NOT_STATED
            return f"{verb} {costlier[word]}" if word in costlier else ""

        yield Option(term.word, term.label, reason, term.definition)


def _families(methods: list[Candidate]) -> Iterator[Option]:
    for name in dict.fromkeys(name for one in methods for name in one.families):

        def reason(one: Candidate, name: str = name) -> str:
            if name not in one.families:
                return f"not tested here with {name}"
            refusal = one.families[name]
            return f"does not support {name}: {refusal}" if refusal else ""

        yield Option(name, name, reason)


def _code() -> Iterator[Option]:
    def known(one: Candidate) -> str:
        return "" if one.method or one.repository else CODE[code(one.paper)]

    def here(one: Candidate) -> str:
        return "" if one.method else "not implemented here"

    yield Option("any", "Yes", known)
    yield Option(
        "here", "Yes, implemented here", here, "With tests, records and a list of differences."
    )


def _amount(share: str) -> Option:
    def reason(one: Candidate) -> str:
        if share == PATTERN and KERNELS not in one.gains:
            return NOT_STATED if UNKNOWN in one.granularity else "supports no N:M pattern"
        result = one.results.get(share)
        if result and result.row.collapsed and result.ratio is not None:
            return f"collapsed at {share_label(share)}: {number(result.ratio)} × dense"
        return ""

    return Option(share, share_label(share), reason)


def common(asked: list[Question]) -> Iterator[tuple[str, str]]:
    """Yield label and address of the common answers that can be given."""
    known = {(question.name, option.value) for question in asked for option in question.options}
    for label, answers in COMMON:
        if set(answers.items()) <= known:
            yield label, "choose.html?" + urlencode(answers, safe=":")


def rules(asked: list[Question], methods: list[Candidate]) -> list[dict[str, Any]]:
    """Return the rules for the script: when each applies, and which methods it excludes and why."""
    result = []
    for question in asked:
        for option in question.options:
            out: dict[str, list[int]] = {}
            for place, one in enumerate(methods):
                if reason := option.reason(one):
                    out.setdefault(reason, []).append(place)
            when = {question.name: [option.value]} | {q: list(a) for q, a in option.given.items()}
            if out:
                result.append({"when": when, "out": out})
    return result
