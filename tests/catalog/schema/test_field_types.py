"""Parsing of numbers and flags."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from tools.catalog.schema.field_types import Decimal, Flag, Share, Year


@pytest.mark.parametrize(
    ("kind", "written", "value"),
    [
        (Year, "2024", 2024),
        (Year, 2024, 2024),
        (Share, "0.5", 0.5),
        (Share, "1", 1.0),
        (Decimal, "-8.30", -8.3),
        (Decimal, "193", 193.0),
        (Flag, "true", True),
        (Flag, "false", False),
    ],
)
def test_parses_numbers_and_flags(kind: Any, written: Any, value: Any) -> None:
    read = TypeAdapter(kind).validate_python(written)
    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize(
    ("kind", "written"),
    [
        *((Year, text) for text in ("2_024", "+2024", " 2024", "2024.0", "1949", "2101", "٢٠٢٤")),
        *((Share, text) for text in ("-0.1", "1.1", "50 %", "true")),
        *((Decimal, text) for text in ("1e3", ".5", "5.", "inf", "nan", "1,000", "0x1F", "")),
        *((Flag, text) for text in ("yes", "True", "on", "1", "t", "")),
    ],
)
def test_rejects_other_texts_as_numbers_and_flags(kind: Any, written: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(kind).validate_python(written)
