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
from tools.catalog.schema.paper import Code, Paper
from tools.catalog.schema.vocabulary import vocabulary
from tools.site.atlas import Atlas, Method
from tools.site.facts import CODE, code, first_board, loss, repository, settings, shares
from tools.site.render import Front, render
from tools.site.words import number

AMOUNTS = ("20 %", "50 %", "2:4")
"""What methods are ordered by, where it was measured."""
SIZE, SPEED, KERNELS = "size", "speed", "2:4"
GAIN = "Zeros alone make a model neither smaller nor faster on dense kernels."
KERNEL = "Then a pattern that keeps two of every four weights is faster too."
TESTED = "As the contract's tests found for the methods that are implemented here."
ORDER = "Methods come in the order of the loss measured here, the least first."
COMMON = (
    (
        "A smaller model without gradients, works under GQA, with code, least loss at 20 %",
        {"gain": SIZE, "data": "forward", "attention": "GQA", "code": "here", "amount": "20"},
    ),
    (
        "2:4 for hardware that has kernels",
        {"gain": SPEED, "kernels": "only", "code": "here", "amount": "2:4"},
    ),
    ("Half of the weights, zeros are enough", {"code": "here", "amount": "50"}),
    ("Smaller, with LoRA training afterwards", {"gain": SIZE, "repair": "low-rank"}),
    ("No data at all", {"data": "none"}),
)
"""Answers that are often given together."""

Reason = Callable[["Candidate"], str]
"""Says why a method is ruled out; nothing where it is not."""
FRONT = Front(
    "choose.md",
    "Choose a method",
    "A few questions, and the pruning methods that remain, each exclusion with its reason.",
    menu="Choose",
    styles=("css/controls.css", "css/choose.css"),
    scripts=("js/choose.js",),
    sources=("catalog/papers", "catalog/vocabulary", "implementations"),
    searched=False,
)


@dataclass(frozen=True)
class Candidate:
    """A method with what the questions ask of it."""

    slug: str
    paper: Paper
    method: Method | None
    losses: dict[str, float | None] = field(default_factory=dict)
    """Perplexity over dense on the first board, by amount."""
    collapsed: frozenset[str] = frozenset()
    """The amounts at which it lost the language."""

    def word(self, name: str) -> str:
        """Its word of a field of the taxonomy that holds one, empty where none is given."""
        return str(getattr(self.paper.taxonomy, name, None) or "")

    @property
    def granularity(self) -> tuple[str, ...]:
        """How regular is what it removes."""
        return self.paper.taxonomy.granularity if self.paper.taxonomy else ()

    @property
    def gains(self) -> list[str]:
        """What removing brings: size, speed, or speed on hardware with kernels for a pattern."""
        found = []
        if "structured" in self.granularity:
            # What is chosen anew for each input has to stay in memory.
            found = [SPEED] if self.word("when") == "input-dependent" else [SIZE, SPEED]
        return found + ([KERNELS] if "semi-structured" in self.granularity else [])

    @property
    def repository(self) -> Code | None:
        """Where its code is."""
        return repository(self.paper)

    def support(self, kind: str) -> dict[str, str]:
        """What the contract found, by family, attention or pattern."""
        return dict(self.method.support.get(kind) or {}) if self.method else {}


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
    measured = [share for share in AMOUNTS if board and share in shares(board)]
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


def candidates(atlas: Atlas, amounts: list[str]) -> list[Candidate]:
    """List all that prunes, implemented methods first, then by name.

    Baselines without a paper are there to be beaten, not to be chosen.
    """
    board = first_board(atlas)
    rows = settings(board) if board else {}
    made = []
    for slug, paper in atlas.papers.items():
        if not paper.taxonomy or not paper.has_paper:
            continue
        here = {share: row for share in amounts if (row := rows.get((slug, share)))}
        made.append(
            Candidate(
                slug,
                paper,
                atlas.methods.get(slug),
                {share: loss(row, board) for share, row in here.items() if board},
                frozenset(share for share, row in here.items() if row.collapsed),
            )
        )
    return sorted(made, key=lambda one: (not one.method, atlas.names[one.slug].casefold()))


def questions(found: list[Candidate], amounts: list[str]) -> list[Question]:
    """Make the questions; what nothing is known about is not asked."""
    words = vocabulary()
    made = [
        Question("gain", "Size or speed?", list(_gain()), GAIN),
        Question("kernels", "Hardware with kernels for 2:4?", list(_kernels()), KERNEL),
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
    def none(*wanted: str) -> Reason:
        return lambda one: "" if set(wanted) & set(one.gains) else _no_gain(one, wanted)

    without, with_ = {"kernels": ("", "no")}, {"kernels": ("yes", "only")}
    size, speed = "A smaller model", "A faster model"
    yield Option(SIZE, size, none(SIZE), "Fewer weights to store.", without)
    yield Option(SIZE, size, none(SIZE, KERNELS), "Fewer weights to store.", with_)
    yield Option(SPEED, speed, none(SPEED), "More tokens a second.", without)
    yield Option(SPEED, speed, none(SPEED, KERNELS), "More tokens a second.", with_)


def _no_gain(one: Candidate, wanted: tuple[str, ...]) -> str:
    if SPEED in one.gains:
        return "chooses anew for each input, so that the whole model stays in memory"
    return f"{' and '.join(one.granularity)}: {NO_SPEED_UP}"


def _kernels() -> Iterator[Option]:
    def only_patterns(one: Candidate) -> str:
        return "gains only where there are kernels for its pattern" * (one.gains == [KERNELS])

    def no_pattern(one: Candidate) -> str:
        if KERNELS not in one.gains:
            return "knows no N:M pattern"
        verdict = one.support("patterns").get(KERNELS, "supported")
        return "" if verdict == "supported" else f"does not do {KERNELS}: {verdict}"

    yield Option("no", "No", only_patterns)
    yield Option("yes", "Yes", lambda _: "")
    yield Option("only", "Yes, and it is to be used", no_pattern)


def _most(name: str, verb: str) -> Iterator[Option]:
    """At most what a word stands for: the vocabulary lists these words from cheap to dear."""
    terms = list(vocabulary()[name].terms.values())
    for place, term in enumerate(terms[:-1]):
        dearer = {later.word: later.label for later in terms[place + 1 :]}

        def reason(one: Candidate, dearer: dict[str, str] = dearer) -> str:
            word = one.word(name)
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
        if share == KERNELS and KERNELS not in one.gains:
            return "knows no N:M pattern"
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
