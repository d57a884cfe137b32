"""Types of the fields of an entry: plain text of bounded length, numbers, flags."""

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


class StrictModel(BaseModel):
    """Base class of all parts of an entry: immutable, without unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TextCheck(ABC):
    """Base class of annotations that check a text field."""

    @abstractmethod
    def check(self, value: str) -> str:
        """Return a valid value; raises `PydanticCustomError` otherwise."""

    @abstractmethod
    def json_schema(self) -> dict[str, Any]:
        """Return the keywords to add to the JSON Schema of the field."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {**handler(schema), **self.json_schema()}


def text_problems(text: str) -> Iterator[tuple[str, str]]:
    """Yield the problems of a text with advice: invisible characters, normal form, markup."""
    for character in "" if text.isprintable() else text:
        category = unicodedata.category(character)
        if category in ("Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"):
            name = unicodedata.name(character, "a control character")
            yield f"contains the invisible character U+{ord(character):04X} ({name})", "remove it"
            return
    if not unicodedata.is_normalized("NFC", text):
        yield "is not in Unicode's composed form (NFC)", "--fix corrects it"
    for pattern, markup in MARKUP:
        if found := pattern.search(text):
            yield f"contains {markup}, '{found[0][:30]}'", "write plain text"
            return


def check_text(text: str) -> str:
    """Return a valid text; raises `PydanticCustomError` otherwise, also for extra spaces."""
    for message, advice in text_problems(text):
        raise PydanticCustomError("text", "{problem}", {"problem": message, "advice": advice})
    if text != " ".join(text.split()):
        problem = {"problem": "has extra spaces", "advice": "--fix removes them"}
        raise PydanticCustomError("text", "{problem}", problem)
    return text


def _parse_scalar(value: Any) -> Any:
    """Convert a text to a number or flag; the YAML reader returns all scalars as text."""
    if value in ("true", "false"):
        return value == "true"
    number = r"-?\d{1,15}(\.\d{1,15})?"
    if isinstance(value, str) and re.fullmatch(number, value, re.ASCII):
        return float(value) if "." in value else int(value)
    return value


def _reject_per_cent(value: Any) -> Any:
    """Raise `PydanticCustomError` for a share written in per cent."""
    text = str(value).strip().removesuffix("%").strip()
    if re.fullmatch(r"\d{1,3}(\.\d+)?", text, re.ASCII) and (float(text) > 1 or "%" in str(value)):
        advice = {"advice": f"write {float(text) / 100:g}", "written": value}
        message = "must be a share between 0 and 1, got '{written}'"
        raise PydanticCustomError("share", message, advice)
    return value


T = TypeVar("T")
Many = Annotated[tuple[T, ...], Field(min_length=1, max_length=100)]

# Strict, because Pydantic would accept `yes` as true and `1_000` as a number.
Year = Annotated[int, Field(strict=True, ge=1950, le=2100), BeforeValidator(_parse_scalar)]
Decimal = Annotated[float, Field(strict=True, allow_inf_nan=False), BeforeValidator(_parse_scalar)]
Share = Annotated[
    float,
    Field(strict=True, ge=0, le=1),
    BeforeValidator(_parse_scalar),
    BeforeValidator(_reject_per_cent),
]
Flag = Annotated[bool, Field(strict=True), BeforeValidator(_parse_scalar)]
Short = Annotated[str, Field(min_length=1, max_length=120), AfterValidator(check_text)]
Line = Annotated[str, Field(min_length=1, max_length=300), AfterValidator(check_text)]
Paragraph = Annotated[str, Field(min_length=1, max_length=1200), AfterValidator(check_text)]
