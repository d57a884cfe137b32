"""A filled issue form, as GitHub writes it into the issue: a heading and an answer each."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tools.adding.draft import Refused, Value, split
from tools.adding.fields import FIELDS, Field

IDENTIFIER = "Identifier"
BLANK = frozenset({"", "_No response_", "None", "N/A"})
"""What stands in the issue where nothing was filled in."""


def read_form(text: str) -> tuple[str, dict[str, Value]]:
    """Return the identifier, and the other answers by flag; raises `Refused` on other text.

    The labels of the form are the flags, capitalised; answers to unknown headings are refused too,
    so that nothing a contributor wrote is lost.
    """
    answers = dict(_answers(text))
    if not answers:
        raise Refused("the file holds no answers; a filled form has lines such as `### Title`")
    identifier = " ".join(answers.pop(IDENTIFIER, "").split())
    by_flag: dict[str, Value] = {}
    for heading, answer in answers.items():
        field = FIELDS.get(heading.lower().replace(" ", "-"))
        if field is None:
            raise Refused(
                f"the heading '{heading}' is not one of the form's; remove it or move its text "
                "under Note"
            )
        by_flag[field.flag] = _value(field, answer)
    return identifier, by_flag


def _answers(text: str) -> Iterator[tuple[str, str]]:
    parts = re.split(r"^### +(\S.*)$", text.replace("\r\n", "\n"), flags=re.MULTILINE)
    for heading, answer in zip(parts[1::2], parts[2::2], strict=True):
        if answer.strip() not in BLANK:
            yield heading.rstrip(), answer.strip()


def _value(field: Field, answer: str) -> Value:
    """Read one answer: lists come a line each, chosen words with commas between."""
    if field.words:
        # An option such as `none (no data at all)` is a word with its meaning behind it.
        answer = re.sub(r" \([^()]*\)", "", answer)
    return split(field, answer.replace("\n", ",") if field.many else answer)
