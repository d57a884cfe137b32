"""What single fields of records and protocols may hold, so that a file of others harms nothing.

What becomes part of a path has a slug's letters, what is shown on one line has no control
characters, and no text or number is without end.
"""

from __future__ import annotations

import math
import unicodedata
from typing import Annotated

from pydantic import AfterValidator, Field, JsonValue

# The start of a key, `.json` and what a writer adds for a while fit beside it into 255 bytes.
LONGEST_NAME = 200
NAMELESS = "model"  # stands for a name of which no letter may stay
UNSEEN = ("Cc", "Cf", "Zl", "Zp")  # controls, changes of direction, other ends of lines
NEVER = "\ufffe\uffff"  # no characters; XML, and with it SVG, cannot hold them
_SEEN = r"[^\p{Cc}\p{Cf}\p{Zl}\p{Zp}\uFFFE\uFFFF]"  # the same
LARGEST_INTEGER = 2**63 - 1

Slug = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*$", max_length=64)]
"""A method: a folder's name, and one that imports."""
FileName = Annotated[str, Field(pattern=r"^[a-z0-9_][a-z0-9._-]*$", max_length=LONGEST_NAME)]
Line = Annotated[str, Field(pattern=rf"^{_SEEN}+$", max_length=300)]
"""A name, label or version: what is shown on one line."""
Place = Annotated[str, Field(pattern=rf"^{_SEEN}+$", max_length=4096)]
"""The name of a text, or a path."""
Text = Annotated[str, Field(max_length=1_000_000)]
Given = Annotated[str, Field(min_length=1)]
"""What somebody asked for: nothing stands for nothing, least of all for the default."""
ValueName = Annotated[str, Field(pattern=rf"^[A-Za-z]{_SEEN}*/{_SEEN}+$", max_length=400)]
"""A kind, a slash, and what it was measured on."""
FieldName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=100)]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Revision = Annotated[str, Field(pattern=r"^[0-9a-f]{40,64}$")]
"""A hash, or a commit."""
RunName = Annotated[str, Field(pattern=r"^[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}$")]

Count = Annotated[int, Field(ge=0, le=LARGEST_INTEGER)]
Few = Annotated[int, Field(ge=1, le=10_000_000)]
"""Samples, tokens, windows or repeats that somebody may ask for."""
Seed = Count
"""What every generator of torch takes."""
Command = Annotated[str, Field(pattern=r"^atlas run ", max_length=100_000)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]


def _in_order(span: tuple[int, int]) -> tuple[int, int]:
    if span[0] >= span[1]:
        raise ValueError("a span ends before it starts")
    return span


Span = Annotated[tuple[Count, Count], AfterValidator(_in_order)]
"""Start and end, which does not belong to it."""


def one_line(text: str, instead: str = "unknown") -> str:
    """Return `text` as a `Line` may hold it; `instead` where nothing of it is left."""
    seen = "".join(c for c in text if unicodedata.category(c) not in UNSEEN and c not in NEVER)
    return seen[:300].strip() or instead


def _written(value: JsonValue) -> JsonValue:
    """Refuse numbers that cannot be written or compared."""
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            _written(item)
    elif isinstance(value, int) and abs(value) > LARGEST_INTEGER:
        raise ValueError("an integer of more than 64 bits")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number that is not finite")
    return value


Plain = Annotated[JsonValue, AfterValidator(_written)]
"""Anything of JSON, with numbers that are numbers."""
