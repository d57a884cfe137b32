"""What every fuzz test of a boundary shares: how many examples, and what may come out of one."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

from hypothesis import HealthCheck, settings

from implementations.harness.errors import AtlasError

FEW = 25
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", FEW))
"""A test; `make fuzz` asks for more, with another seed each round."""

fuzz = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=EXAMPLES == FEW,  # a test run is the same each time
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
"""Stands above `@given` of every test here."""

T = TypeVar("T")


def value_or_refusal(read: Callable[[], T], refusal: type[Exception] = AtlasError) -> T | Exception:
    """Return what was read, or the refusal that says in words why not; all else is a failure."""
    try:
        return read()
    except refusal as error:
        said = error
    assert str(said).strip(), "a refusal without a word"
    assert len(str(said)) < 2_000, "a refusal that nobody reads to its end"
    return said
