"""The strict model and the field types of records and protocols, so that files are harmless.

Fields that become part of a path consist of safe characters, fields shown on one line have no
control characters, and every text and number has a maximum size.
"""

from __future__ import annotations

import math
import unicodedata
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationError

# Leaves room in 255 bytes for the start of a key, `.json` and the suffix of a temporary file.
LONGEST_NAME = 200
NAMELESS = "model"  # replaces a model name that has no allowed character
UNPRINTABLE = ("Cc", "Cf", "Zl", "Zp")  # control characters, bidirectional marks, line separators
NONCHARACTERS = "\ufffe\uffff"  # invalid in XML, and therefore in SVG
_PRINTABLE = r"[^\p{Cc}\p{Cf}\p{Zl}\p{Zp}\uFFFE\uFFFF]"  # excludes both
LARGEST_INTEGER = 2**63 - 1

Slug = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*$", max_length=64)]
"""Name of a method, which is also the name of its folder and package."""
FileName = Annotated[str, Field(pattern=r"^[a-z0-9_][a-z0-9._-]*$", max_length=LONGEST_NAME)]
Line = Annotated[str, Field(pattern=rf"^{_PRINTABLE}+$", max_length=300)]
"""A name, label or version that is shown on one line."""
Place = Annotated[str, Field(pattern=rf"^{_PRINTABLE}+$", max_length=4096)]
"""Name of a text, or a path."""
Text = Annotated[str, Field(max_length=1_000_000)]
Given = Annotated[str, Field(min_length=1)]
"""A non-empty setting; an empty one must not silently select the default."""
ValueName = Annotated[str, Field(pattern=rf"^[A-Za-z]{_PRINTABLE}*/{_PRINTABLE}+$", max_length=400)]
"""Name of a value: metric, slash, text or task."""
FieldName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=100)]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Revision = Annotated[str, Field(pattern=r"^[0-9a-f]{40,64}$")]
"""A hash or a git commit."""
RunName = Annotated[str, Field(pattern=r"^[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}$")]

Count = Annotated[int, Field(ge=0, le=LARGEST_INTEGER)]
Few = Annotated[int, Field(ge=1, le=10_000_000)]
"""Number of samples, tokens, windows or repeats."""
Seed = Count
"""A seed that every torch generator accepts."""
Command = Annotated[str, Field(pattern=r"^atlas run ", max_length=100_000)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]


def _in_order(span: tuple[int, int]) -> tuple[int, int]:
    if span[0] >= span[1]:
        raise ValueError("the span ends before it starts")
    return span


Span = Annotated[tuple[Count, Count], AfterValidator(_in_order)]
"""Start and exclusive end."""


def one_line(text: str, instead: str = "unknown") -> str:
    """Reduce `text` to a valid `Line`; return `instead` if nothing remains."""
    printable = "".join(
        c for c in text if unicodedata.category(c) not in UNPRINTABLE and c not in NONCHARACTERS
    )
    return printable[:300].strip() or instead


def _check_numbers(value: JsonValue) -> JsonValue:
    """Raise `ValueError` for a number that is not finite or needs more than 64 bits."""
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            _check_numbers(item)
    elif isinstance(value, int) and abs(value) > LARGEST_INTEGER:
        raise ValueError("the integer has more than 64 bits")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("the number is not finite")
    return value


Plain = Annotated[JsonValue, AfterValidator(_check_numbers)]
"""Any JSON value with finite numbers."""


MAX_PROBLEMS = 10
MAX_FIELD_NAME = 60


class StrictModel(BaseModel):
    """Frozen, strictly typed model that rejects unknown fields, NaN and infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def validation_problems(error: ValidationError) -> str:
    """Return the first validation errors on one line, as `field: message` joined by semicolons."""
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    messages = [
        ".".join(map(_field, problem["loc"]))
        + ": " * bool(problem["loc"])
        + problem["msg"].removeprefix("Value error, ")
        for problem in errors[:MAX_PROBLEMS]
    ]
    if len(errors) > MAX_PROBLEMS:
        messages.append(f"and {len(errors) - MAX_PROBLEMS:,} more")
    return "; ".join(messages)


def _field(name: int | str) -> str:
    """Make a field name printable; unknown fields have any name that the file gives them."""
    text = str(name)
    return (text if text.isprintable() else ascii(text))[:MAX_FIELD_NAME]
