"""Questions on a terminal, with completion from the vocabulary and answers checked at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TypeVar

import questionary
from prompt_toolkit.completion import WordCompleter

from tools.adding.draft import CORE, TAXONOMY, YOU, Draft, copied, fault, split
from tools.adding.fields import FIELDS, Field

NEEDED = frozenset({*CORE, *TAXONOMY, "source", "fidelity"})
"""What an entry does not do without, if it is asked for at all."""
OF_READERS = ("name", "kind", "read", "summary")
MORE = (
    *("prunes", "recovery", "allocation", "when", "role", "combines", "architecture", "model"),
    *("calibration-data", "training-data", "evaluation-data"),
    *("builds-on", "extends", "compares-with", "code", "license", "code-note"),
)
OF_STUDIES = ("architecture", "topic", "model", "compares-with", "code", "license", "code-note")
"""What is asked of works that prune nothing."""

Judge = Callable[[str], str | None]
"""Says what is wrong with an answer, or nothing."""
T = TypeVar("T")


def ask_what_readers_know(draft: Draft) -> None:
    """Ask for what only a reader of the paper can say; guesses stand there to be confirmed."""
    ask_each(draft, OF_READERS)
    if draft.prunes:
        ask_each(draft, TAXONOMY)
    more = MORE if draft.prunes else OF_STUDIES
    guesses = [flag for flag in more if FIELDS[flag].loc in draft.guessed]
    begun = not draft.answered.isdisjoint(more)
    what = "units, repair, budget, models" if draft.prunes else "topic, models"
    if begun or confirm(f"Say more ({what}, data, relations, code)?", default=bool(guesses)):
        ask_each(draft, more)
    else:
        for flag in guesses:
            draft.drop(FIELDS[flag].loc)


def ask_each(draft: Draft, flags: Iterable[str]) -> None:
    """Ask for each fact that is not there, is only guessed, or cannot stand in an entry."""
    for flag in flags:
        field = FIELDS[flag]
        value = draft.get(field.loc)
        settled = value is not None and field.loc not in draft.guessed and not fault(field, value)
        if not settled and flag not in draft.answered and _applies(draft, flag):
            _ask_one(draft, field)


def ask_again(draft: Draft, flags: Iterable[str]) -> None:
    """Ask for facts that were answered in a way that cannot stand; the answers can be mended."""
    for flag in flags:
        _ask_one(draft, FIELDS[flag])
        if flag == "license" and _applies(draft, "code-note"):
            _ask_one(draft, FIELDS["code-note"])


def _applies(draft: Draft, flag: str) -> bool:
    """Whether a question makes sense: a licence needs code, a note of it a doubt."""
    if flag == "license":
        return bool(draft.value("code"))
    return flag != "code-note" or draft.value("license") == "unclear"


def _ask_one(draft: Draft, field: Field) -> None:
    value = draft.get(field.loc)
    default = ", ".join(value) if isinstance(value, list) else str(value or "")
    judge = partial(_wrong, draft, field)
    answer = split(field, ask(_question(field), judge, default, field))
    if answer:
        draft.put(field.loc, answer, YOU)
    else:
        draft.drop(field.loc)
    draft.answered.add(field.flag)
    draft.keep()


def ask(question: str, judge: Judge, default: str = "", field: Field | None = None) -> str:
    """Ask for one line until `judge` finds nothing wrong with it."""
    answer: str = questionary.text(
        f"{question}:",
        default=default,
        validate=lambda text: judge(text.strip()) or True,
        completer=_completer(field) if field else None,
        complete_while_typing=True,
    ).unsafe_ask()
    return answer.strip()


def confirm(question: str, *, default: bool) -> bool:
    """Ask for yes or no; Enter is waited for, lest it answer the next question."""
    return bool(questionary.confirm(question, default=default, auto_enter=False).unsafe_ask())


def choose(question: str, options: Sequence[tuple[str, T]]) -> T:
    """Let one of several be chosen; each is a text and what it stands for."""
    choices = [questionary.Choice(text, value=index) for index, (text, _) in enumerate(options)]
    index: int = questionary.select(question, choices).unsafe_ask()
    return options[index][1]


def pick(question: str, options: Sequence[tuple[str, T, bool]]) -> list[T]:
    """Let several be picked; each is a text, what it stands for, and whether it is proposed."""
    choices = [
        questionary.Choice(text, value=index, checked=proposed)
        for index, (text, _, proposed) in enumerate(options)
    ]
    picked = questionary.checkbox(question, choices).unsafe_ask()
    return [options[index][1] for index in picked]


def _question(field: Field) -> str:
    several = ", commas between several" if field.many else ""
    needless = "" if field.flag in NEEDED else " (Enter leaves it out)"
    return f"{field.about}{several}{needless}"


def _wrong(draft: Draft, field: Field, text: str) -> str | None:
    answer = split(field, text)
    if not answer:
        return "An entry needs this." if field.flag in NEEDED else None
    if field.flag == "summary" and copied(text, draft.abstract):
        return "This is from the abstract; say it in words of your own."
    return fault(field, answer)


def _completer(field: Field) -> WordCompleter | None:
    if not field.words:
        return None
    meanings = {word: term.definition for word, term in field.words.terms.items()}
    # A word of the vocabulary is all that stands between two commas.
    return WordCompleter(list(meanings), meta_dict=meanings, pattern=re.compile(r"[^\s,]+"))
