"""A filled-in issue form as GitHub renders it: headings, each followed by an answer."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tools.adding.draft import EntryError, Value, parse_answer
from tools.adding.fields import FIELDS, Field

IDENTIFIER = "Identifier"
BLANK = frozenset({"", "_No response_", "None", "N/A"})
"""The text of an empty answer."""


def read_form(text: str) -> tuple[str, dict[str, Value]]:
    """Return the identifier, and the other answers by flag.

    The headings of the form are the capitalised flags. Raises `EntryError` for a text without
    answers, and for an unknown heading, so that no answer is lost.
    """
    answers = dict(_answers(text))
    if not answers:
        raise EntryError("the file has no answers; a filled-in form has lines such as `### Title`")
    identifier = " ".join(answers.pop(IDENTIFIER, "").split())
    by_flag: dict[str, Value] = {}
    for heading, answer in answers.items():
        field = FIELDS.get(heading.lower().replace(" ", "-"))
        if field is None:
            raise EntryError(
                f"the form has no heading '{heading}'; remove it, or move its text to Note"
            )
        by_flag[field.flag] = _value(field, answer)
    return identifier, by_flag


def _answers(text: str) -> Iterator[tuple[str, str]]:
    parts = re.split(r"^### +(\S.*)$", text.replace("\r\n", "\n"), flags=re.MULTILINE)
    for heading, answer in zip(parts[1::2], parts[2::2], strict=True):
        if answer.strip() not in BLANK:
            yield heading.rstrip(), answer.strip()


def _value(field: Field, answer: str) -> Value:
    """Read one answer: lists have one item per line, selected terms are comma-separated."""
    if field.words:
        # Options explain their term in parentheses: `none (no data at all)`.
        answer = re.sub(r" \([^()]*\)", "", answer)
    return parse_answer(field, answer.replace("\n", ",") if field.many else answer)
