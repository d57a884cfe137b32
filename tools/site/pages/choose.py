"""Choose a method: questions that rule methods out, each time with the reason.

What is asked comes from the vocabulary, from what the contract found and from what was measured;
the reasons are made here, and the script on the page only puts them together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from implementations.harness.results.record import NO_SPEED_UP
from tools.catalog.schema.vocabulary import UNKNOWN, vocabulary
from tools.site.atlas import Atlas
from tools.site.board_results import default_settings, first_board
from tools.site.candidates import KERNELS, OWN, SIZE, SPEED, Candidate, candidates
from tools.site.formatting import number
from tools.site.paper_facts import CODE, code
from tools.site.render import Front, render

PATTERN = "2:4"
AMOUNTS = ("20 %", "50 %", PATTERN)
"""What methods are ordered by, where it was measured."""
GAIN = "Zeros alone make a model neither smaller nor faster on dense kernels."
KERNEL = "A pattern such as 2:4 needs them to be faster; skipped tiles and activations their own."
UNSAID = "not said in what was read"
TESTED = "As the contract's tests found for the methods that are implemented here."
ORDER = "Methods come in the order of the loss measured here, the least first."
COMMON = (
    (
        "A smaller model without gradients, works under GQA, with code, least loss at 20 %",
        {"gain": SIZE, "data": "forward", "attention": "GQA", "code": "here", "amount": "20"},
    ),
    (
        "2:4 for hardware that has kernels",
        {"gain": SPEED, "kernels": "only", "code": "here", "amount": PATTERN},
    ),
    ("Half of the weights, zeros are enough", {"code": "here", "amount": "50"}),
    ("Smaller, with LoRA training afterwards", {"gain": SIZE, "repair": "low-rank"}),
    ("No data at all", {"data": "none"}),
)
"""Answers that are often given together."""

Reason = Callable[[Candidate], str]
"""Says why a method is ruled out; nothing where it is not."""
FRONT = Front(
    "choose.md",
    "Choose a method",
    "A few questions, and the pruning methods that remain, each exclusion with its reason.",
    styles=("css/controls.css", "css/choose.css"),
    scripts=("js/choose.js",),
    sources=("catalog/papers", "catalog/vocabulary", "implementations"),
    searched=False,
)


@dataclass(frozen=True)
class Option:
    """One answer, and the methods it rules out."""

    value: str
    label: str
    reason: Reason
    definition: str = ""
    given: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Answers to other questions, one of which must hold; empty stands for no answer."""


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
    board = first_board(atlas)
    measured = [share for share in AMOUNTS if board and share in default_settings(board)]
    found = candidates(atlas, measured)
    asked = questions(found, measured)
    text = render(
        "choose",
        FRONT,
        atlas,
        candidates=found,
        questions=asked,
        common=list(common(asked)),
        amounts=measured,
        board=board,
        code_of=code,
        rules=rules(asked, found),
    )
    yield FRONT.path, text


def questions(found: list[Candidate], amounts: list[str]) -> list[Question]:
    """Make the questions; what nothing is known about is not asked."""
    words = vocabulary()
    made = [
        Question("gain", "Size or speed?", list(_gain()), GAIN),
        Question("kernels", "Kernels beyond dense ones?", list(_kernels()), KERNEL),
        Question(
            "data",
            "What may choosing need at most?",
            list(_most("calibration", "needs")),
            words["calibration"].about,
        ),
        Question(
            "repair",
            "What may repair need at most?",
            list(_most("recovery", "repairs by")),
            words["recovery"].about,
        ),
        Question("family", "Which model family?", list(_works("families", found)), TESTED),
        Question("attention", "Which attention?", list(_works("attention", found)), TESTED),
        Question("code", "Is code needed?", list(_code()), "The authors', others', or ours."),
        Question("amount", "How much is to go?", [_amount(share) for share in amounts], ORDER),
    ]
    return [question for question in made if question.options]


def _gain() -> Iterator[Option]:
    def none(wanted: tuple[str, ...]) -> Reason:
        return lambda one: "" if set(wanted) & set(one.gains) else _no_gain(one, wanted)

    dense, pattern, own = ("", "no"), ("yes", "only"), ("own",)
    size, speed = "A smaller model", "A faster model"
    for value, label, about, kernels, *wanted in (
        (SIZE, size, "Fewer weights to store.", dense, SIZE),
        (SIZE, size, "Fewer weights to store.", pattern + own, SIZE, KERNELS),
        (SPEED, speed, "More tokens a second.", dense, SPEED),
        (SPEED, speed, "More tokens a second.", pattern, SPEED, KERNELS),
        (SPEED, speed, "More tokens a second.", own, SPEED, KERNELS, OWN),
    ):
        yield Option(value, label, none(tuple(wanted)), about, {"kernels": kernels})


def _no_gain(one: Candidate, wanted: tuple[str, ...]) -> str:
    if UNKNOWN in one.granularity:
        return UNSAID
    if SIZE in wanted and one.anew:
        return "chooses anew for each input, so that the whole model stays in memory"
    if OWN in one.gains:
        return f"{' and '.join(one.granularity)}: faster only with kernels made for it"
    return f"{' and '.join(one.granularity)}: {NO_SPEED_UP}"


def _kernels() -> Iterator[Option]:
    def only_patterns(one: Candidate) -> str:
        without = one.gains and not {SIZE, SPEED} & set(one.gains)
        return "gains only where there are kernels for its pattern" if without else ""

    def no_pattern(one: Candidate) -> str:
        if KERNELS not in one.gains:
            return UNSAID if UNKNOWN in one.granularity else "knows no N:M pattern"
        verdict = one.support("patterns").get(PATTERN, "supported")
        return "" if verdict == "supported" else f"does not do {PATTERN}: {verdict}"

    yield Option("no", "None", only_patterns)
    yield Option("yes", "For 2:4", lambda _: "", "As some hardware has them.")
    yield Option("only", "For 2:4, to be used", no_pattern, "Whatever else a method does.")
    yield Option("own", "Those of the method too", lambda _: "", "Skipped tiles or activations.")


def _most(name: str, verb: str) -> Iterator[Option]:
    """At most what a word stands for: the vocabulary lists these words from cheap to dear.

    What was not said of a method is neither cheap nor dear: any answer rules it out.
    """
    terms = [term for term in vocabulary()[name].terms.values() if term.word != UNKNOWN]
    for place, term in enumerate(terms[:-1]):
        dearer = {later.word: later.label for later in terms[place + 1 :]}

        def reason(one: Candidate, dearer: dict[str, str] = dearer) -> str:
            word = one.word(name)
            if not word:
                return UNSAID
            return f"{verb} {dearer[word]}" if word in dearer else ""

        yield Option(term.word, term.label, reason, term.definition)


def _works(kind: str, found: list[Candidate]) -> Iterator[Option]:
    for name in dict.fromkeys(name for one in found for name in one.support(kind)):

        def reason(one: Candidate, name: str = name) -> str:
            verdict = one.support(kind).get(name, "")
            if not verdict:
                return f"not tested here with {name}"
            return "" if verdict == "supported" else f"not with {name}: {verdict}"

        yield Option(name, name, reason)


def _code() -> Iterator[Option]:
    def known(one: Candidate) -> str:
        return "" if one.method or one.repository else CODE[code(one.paper)]

    def here(one: Candidate) -> str:
        return "" if one.method else "not implemented here"

    yield Option("any", "Yes", known)
    yield Option(
        "here", "Yes, implemented here", here, "With tests, records and a page of differences."
    )


def _amount(share: str) -> Option:
    def reason(one: Candidate) -> str:
        if share == PATTERN and KERNELS not in one.gains:
            return UNSAID if UNKNOWN in one.granularity else "knows no N:M pattern"
        lost = one.losses.get(share)
        if share in one.collapsed and lost is not None:
            return f"collapsed at {share}: {number(lost)} times dense"
        return ""

    return Option(address(share), share, reason)


def address(share: str) -> str:
    """Write an amount for an address: `20`, `2:4`."""
    return share.removesuffix(" %")


def common(asked: list[Question]) -> Iterator[tuple[str, str]]:
    """Yield label and address of the common answers, of those that can be given here."""
    known = {(question.name, option.value) for question in asked for option in question.options}
    for label, answers in COMMON:
        if set(answers.items()) <= known:
            yield label, "choose.html?" + urlencode(answers, safe=":")


def rules(asked: list[Question], found: list[Candidate]) -> list[dict[str, Any]]:
    """Everything the script needs: when a rule holds, and whom it rules out for which reason."""
    made = []
    for question in asked:
        for option in question.options:
            out: dict[str, list[int]] = {}
            for place, one in enumerate(found):
                if reason := option.reason(one):
                    out.setdefault(reason, []).append(place)
            when = {question.name: [option.value]} | {q: list(a) for q, a in option.given.items()}
            if out:
                made.append({"when": when, "out": out})
    return made
