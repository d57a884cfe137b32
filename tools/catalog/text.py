"""Text that a catalog may hold: clean, plain, of bounded length."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

MARKUP = (
    (re.compile(r"<[a-zA-Z!/?][^>]*>?"), "HTML"),
    (re.compile(r"&(#\d+|#x[0-9a-fA-F]+|[a-zA-Z]{2,8});"), "an HTML entity"),
    (re.compile(r"!?\[[^\]]*\]\("), "a Markdown link"),
    (re.compile(r"\*\*|__(?=\S)|`"), "Markdown"),
    (re.compile(r"\\[a-zA-Z]+|\$[^$\s][^$]*\$"), "LaTeX"),
    (re.compile(r"\{\{|\{%"), "template syntax"),
)


def flaws(text: str) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with a text and what to do: characters, normal form, markup."""
    # What Python can print is none of these; nearly every text is passed at once.
    for character in "" if text.isprintable() else text:
        category = unicodedata.category(character)
        if category in ("Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"):
            name = unicodedata.name(character, "a control character")
            yield f"holds U+{ord(character):04X} ({name})", "remove it; it cannot be seen"
            return
    if not unicodedata.is_normalized("NFC", text):
        yield "is not in Unicode's composed form (NFC)", "--fix writes it so"
    for pattern, what in MARKUP:
        if found := pattern.search(text):
            yield f"holds {what}, '{found[0][:30]}'", "write plain text"
            return


def clean(text: str) -> str:
    """Accept a text without flaws and without loose or doubled spaces."""
    for message, advice in flaws(text):
        raise PydanticCustomError("text", "{problem}", {"problem": message, "advice": advice})
    if text != " ".join(text.split()):
        problem = {"problem": "has loose or doubled spaces", "advice": "--fix removes them"}
        raise PydanticCustomError("text", "{problem}", problem)
    return text


def _whole(value: Any) -> Any:
    """Read digits as the number they spell: the loader leaves all scalars as text."""
    return int(value) if isinstance(value, str) and re.fullmatch(r"-?\d{1,9}", value) else value


def _decimal(value: Any) -> Any:
    number = r"-?\d{1,15}(\.\d{1,15})?"
    return float(value) if isinstance(value, str) and re.fullmatch(number, value) else value


def _flag(value: Any) -> Any:
    return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value


Whole = Annotated[int, BeforeValidator(_whole)]
Decimal = Annotated[float, BeforeValidator(_decimal), Field(allow_inf_nan=False)]
Flag = Annotated[bool, BeforeValidator(_flag)]
Short = Annotated[str, Field(min_length=1, max_length=120), AfterValidator(clean)]
Line = Annotated[str, Field(min_length=1, max_length=300), AfterValidator(clean)]
Paragraph = Annotated[str, Field(min_length=1, max_length=1200), AfterValidator(clean)]
