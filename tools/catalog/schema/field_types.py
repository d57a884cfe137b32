"""Types that fields of an entry have: clean text of bounded length, numbers, flags."""

from __future__ import annotations

import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

MARKUP = (
    (re.compile(r"<[a-zA-Z!/?][^>]*>?"), "HTML"),
    (re.compile(r"&(#\d+|#x[0-9a-fA-F]+|[a-zA-Z]{2,8});"), "an HTML entity"),
    (re.compile(r"!?\[[^\]]*\]\("), "a Markdown link"),
    (re.compile(r"\*\*|__(?=\S)|`"), "Markdown"),
    (re.compile(r"\\[a-zA-Z]+|\$[^$\s][^$]*\$"), "LaTeX"),
    (re.compile(r"\{\{|\{%"), "template syntax"),
)


class Strict(BaseModel):
    """What all parts of an entry share: unknown fields are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Checked(ABC):
    """Annotation of a text field: `check` accepts a value or raises, `described` is for editors."""

    @abstractmethod
    def check(self, value: str) -> str:
        """Return an accepted value; raises `PydanticCustomError` for any other."""

    @abstractmethod
    def described(self) -> dict[str, Any]:
        """Return what the JSON Schema says of the field beside its type."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {**handler(schema), **self.described()}


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


def _spelt(value: Any) -> Any:
    """Read a number or a flag from its text: the reader leaves every scalar as it stands there."""
    if value in ("true", "false"):
        return value == "true"
    number = r"-?\d{1,15}(\.\d{1,15})?"
    if isinstance(value, str) and re.fullmatch(number, value, re.ASCII):
        return float(value) if "." in value else int(value)
    return value


def _per_cent(value: Any) -> Any:
    """Say how a share is written where somebody wrote per cent."""
    text = str(value).strip().removesuffix("%").strip()
    if re.fullmatch(r"\d{1,3}(\.\d+)?", text, re.ASCII) and (float(text) > 1 or "%" in str(value)):
        advice = {"advice": f"write {float(text) / 100:g}", "written": value}
        raise PydanticCustomError("share", "'{written}' is in per cent; a share is wanted", advice)
    return value


T = TypeVar("T")
Many = Annotated[tuple[T, ...], Field(min_length=1, max_length=100)]

# Strict, for Pydantic itself takes `yes` for true and `1_000` for a number.
Year = Annotated[int, Field(strict=True, ge=1950, le=2100), BeforeValidator(_spelt)]
Decimal = Annotated[float, Field(strict=True, allow_inf_nan=False), BeforeValidator(_spelt)]
Share = Annotated[
    float, Field(strict=True, ge=0, le=1), BeforeValidator(_spelt), BeforeValidator(_per_cent)
]
Flag = Annotated[bool, Field(strict=True), BeforeValidator(_spelt)]
Short = Annotated[str, Field(min_length=1, max_length=120), AfterValidator(clean)]
Line = Annotated[str, Field(min_length=1, max_length=300), AfterValidator(clean)]
Paragraph = Annotated[str, Field(min_length=1, max_length=1200), AfterValidator(clean)]
