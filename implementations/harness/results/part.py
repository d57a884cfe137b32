"""What protocols, records and their parts have in common: frozen, strict, nothing unknown."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, ValidationError


class Part(BaseModel):
    """Base of the parts: numbers are finite, and nothing unknown is accepted."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def problems(error: ValidationError) -> str:
    """Say in one line what a validation found: each place and what is wrong there."""
    return "; ".join(
        ".".join(map(str, problem["loc"])) + ": " * bool(problem["loc"]) + problem["msg"]
        for problem in error.errors()
    )
