"""Helpers of the fuzz tests: settings, unusual content, allowed results."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from implementations.harness.errors import AtlasError

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "25"))
"""Examples per test; `make fuzz` sets a higher number, and another seed in each round."""

SETTINGS = settings(
    max_examples=EXAMPLES,
    derandomize=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)

T = TypeVar("T")


def fuzz(test: Callable[..., None]) -> Callable[..., None]:
    """Mark a test with random input, above `@given`: only `make fuzz` runs it."""
    return pytest.mark.fuzz(SETTINGS(test))


ODD_TEXT = (
    *("", " ", ".", "..", "../../x", "/etc/x", "a/b", "[/x]", "[bold]", "[link=x]", "`", "|", "\n"),
    *("<script>alert(1)</script>", "</section>", "{{ 7 * 7 }}", "\x1b]0;x\x07", "\x9b31m", "=1+1"),
    *("\u202e", "\u2028", "\ud800", "größe 大 🦙", "x" * 300, "9" * 30, "%s", "\0"),
    *("dense", "harness", "ppl//"),
    *("0001-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59", "2026-11-25T12:00:00+14:00"),
)
ODD_NUMBERS = (
    *(0, -1, 1, 2**31, 2**63, 2**64, 10**400, 0.0, -0.0, 0.5, 1.0, 1.5, 1e-9, 5e-324, 1.7e308),
    *(-1.7e308, 1e300, 1e-300, True, False, None),
)
ODD = st.sampled_from((*ODD_TEXT, *ODD_NUMBERS, [], {}, [[]], {"": None})) | st.text(max_size=20)
"""Unusual JSON values."""


def value_or_refusal(read: Callable[[], T], refusal: type[Exception] = AtlasError) -> T | Exception:
    """Return the value or the expected error, which must have a short message."""
    try:
        return read()
    except refusal as error:
        said = error
    assert str(said).strip(), "a refusal without a word"
    assert len(str(said)) < 2_000, "a refusal that nobody reads to its end"
    return said


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """The bytes with some of them changed, removed or repeated."""
    content = bytearray(whole)
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(content)))
        end = draw(st.integers(start, min(len(content), start + 40)))
        match draw(st.sampled_from(["flip", "set", "cut", "double", "end"])):
            case "flip" if start < len(content):
                content[start] ^= 1 << draw(st.integers(0, 7))
            case "set":
                content[start:end] = draw(st.binary(min_size=end - start, max_size=end - start))
            case "cut":
                del content[start:end]
            case "double":
                content[start:start] = content[start:end]
            case "end":
                del content[start:]
    return bytes(content)


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every part of a plain value, starting with the value itself."""
    yield place
    if isinstance(value, dict | list):
        for step, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(inner, (*place, step))


@st.composite
def changed(
    draw: st.DrawFn,
    content: Any,
    values: st.SearchStrategy[Any],
    names: st.SearchStrategy[str],
    most: int = 3,
) -> Any:
    """Replace, remove, add or repeat a few parts of a JSON value."""
    content = deepcopy(content)
    for _ in range(draw(st.integers(1, most))):
        place = draw(st.sampled_from(list(places(content))))
        if not place:
            continue
        *way, last = place
        inner = content
        for step in way:
            inner = inner[step]
        what = draw(st.sampled_from(["replace", "replace", "replace", "drop", "twice", "more"]))
        if what == "replace":
            inner[last] = deepcopy(draw(values))
        elif what == "more" and isinstance(inner, dict):
            inner[draw(names)] = deepcopy(draw(values))
        elif what == "drop":
            del inner[last]
        elif isinstance(inner, list):
            inner.insert(last, deepcopy(inner[last]))
        else:
            inner[draw(names)] = deepcopy(inner[last])
    return content
