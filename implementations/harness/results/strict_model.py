"""The strict pydantic model that records and protocols are made of."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, ValidationError

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
