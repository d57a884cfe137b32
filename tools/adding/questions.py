"""Questions on a terminal, with completion from the vocabulary and immediate checks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TypeVar

import questionary
from prompt_toolkit.completion import WordCompleter

from tools.adding.draft import (
    CORE,
    OWN_WORDS,
    TAXONOMY,
    YOU,
    Draft,
    is_copied,
    parse_answer,
    value_problem,
)
from tools.adding.fields import FIELDS, Field

REQUIRED = frozenset({*CORE, *TAXONOMY, "source", "fidelity"})
"""Facts that must have an answer when they are asked for."""
READER_FACTS = ("name", "kind", "read", "tagline", "summary")
METHOD_FACTS = (
    *("prunes", "recovery", "allocation", "when", "role", "combines", "architecture", "model"),
    *("calibration-data", "training-data", "evaluation-data"),
    *("builds-on", "extends", "compares-with", "code", "license", "code-note"),
)
STUDY_FACTS = ("architecture", "topic", "model", "compares-with", "code", "license", "code-note")
"""Optional facts of works that prune nothing."""

Validator = Callable[[str], str | None]
"""Returns the problem of an answer, or None."""
T = TypeVar("T")


def ask_reader_facts(draft: Draft) -> None:
    """Ask for facts that only a reader knows."""
    ask_each(draft, READER_FACTS)
    if draft.prunes:
        ask_each(draft, TAXONOMY)
    optional = METHOD_FACTS if draft.prunes else STUDY_FACTS
    begun = not draft.answered.isdisjoint(optional)
    topics = "units, recovery, allocation, models" if draft.prunes else "topic, models"
    question = f"Answer optional questions ({topics}, data, relations, code)?"
    if begun or confirm(question, default=False):
        ask_each(draft, optional)


def ask_each(draft: Draft, flags: Iterable[str]) -> None:
    """Ask for each fact that is missing, only guessed or invalid."""
    for flag in flags:
        field = FIELDS[flag]
        value = draft.get(field.loc)
        certain = value is not None and field.loc not in draft.guessed
        if certain and not value_problem(field, value):
            continue
        if flag not in draft.answered and _applies(draft, flag):
            _ask_one(draft, field)


def ask_again(draft: Draft, flags: Iterable[str]) -> None:
    """Ask again for facts with invalid answers, which appear as defaults to edit."""
    for flag in flags:
        _ask_one(draft, FIELDS[flag])
        if flag == "license" and _applies(draft, "code-note"):
            _ask_one(draft, FIELDS["code-note"])


def _applies(draft: Draft, flag: str) -> bool:
    """Whether to ask: a licence needs a repository, a note on it an unclear licence."""
    if flag == "license":
        return bool(draft.value("code"))
    return flag != "code-note" or draft.value("license") == "unclear"


def _ask_one(draft: Draft, field: Field) -> None:
    value = draft.get(field.loc)
    default = ", ".join(value) if isinstance(value, list) else str(value or "")
    validator = partial(_answer_problem, draft, field)
    answer = parse_answer(field, ask(_question(field), validator, default, field))
    if answer:
        draft.put(field.loc, answer, YOU)
    else:
        draft.drop(field.loc)
    draft.answered.add(field.flag)
    draft.save()


def ask(question: str, validator: Validator, default: str = "", field: Field | None = None) -> str:
    """Ask for one line until `validator` accepts it."""
    answer: str = questionary.text(
        f"{question}:",
        default=default,
        validate=lambda text: validator(text.strip()) or True,
        completer=_completer(field) if field else None,
        complete_while_typing=True,
    ).unsafe_ask()
    return answer.strip()


def confirm(question: str, *, default: bool) -> bool:
    """Ask a yes-or-no question, confirmed with Enter."""
    return bool(questionary.confirm(question, default=default, auto_enter=False).unsafe_ask())


def choose(question: str, options: Sequence[tuple[str, T]]) -> T | None:
    """Let the user choose one option, given as pairs of a text and its value, or none."""
    choices = [questionary.Choice(text, value) for text, value in options]
    none = questionary.Choice("None of these", "")
    chosen: T | str = questionary.select(question, [*choices, none]).unsafe_ask()
    return None if isinstance(chosen, str) else chosen


def pick(question: str, options: Sequence[tuple[str, T, bool]]) -> list[T]:
    """Let the user select options, given as text, value and whether it is preselected."""
    choices = [questionary.Choice(text, value, checked=checked) for text, value, checked in options]
    picked: list[T] = questionary.checkbox(question, choices).unsafe_ask()
    return picked


def _question(field: Field) -> str:
    several = ", comma-separated" if field.many else ""
    optional = "" if field.flag in REQUIRED else " (press Enter to skip)"
    return f"{field.about}{several}{optional}"


def _answer_problem(draft: Draft, field: Field, text: str) -> str | None:
    answer = parse_answer(field, text)
    if not answer:
        return "An answer is required." if field.flag in REQUIRED else None
    if field.flag in OWN_WORDS and is_copied(text, draft.abstract):
        return f"The {field.flag} repeats the abstract; write it in your own words."
    return value_problem(field, answer)


def _completer(field: Field) -> WordCompleter | None:
    if not field.words:
        return None
    meanings = {word: term.definition for word, term in field.words.terms.items()}
    # A term may contain spaces and hyphens, so only commas end it.
    return WordCompleter(list(meanings), meta_dict=meanings, pattern=re.compile(r"[^\s,]+"))
