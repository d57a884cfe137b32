"""What protocols, records and their parts have in common: frozen, strict, nothing unknown."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, ValidationError

MOST = 10
"""Problems told of one file: the first ones say what is wrong with it."""
LONGEST = 60


class Part(BaseModel):
    """Base of the parts: numbers are finite, and nothing unknown is accepted."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def problems(error: ValidationError) -> str:
    """Say in one line what a validation found: each place and what is wrong there."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    said = [
        ".".join(map(_step, problem["loc"])) + ": " * bool(problem["loc"]) + problem["msg"]
        for problem in found[:MOST]
    ]
    more = [f"and {len(found) - MOST:,} more"] if len(found) > MOST else []
    return "; ".join(said + more)


def _step(step: int | str) -> str:
    """Name a part of a place, which may be whatever the file says."""
    text = str(step)
    return (text if text.isprintable() else ascii(text))[:LONGEST]
