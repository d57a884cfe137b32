"""Training, by a method or after it: what is asked for, and what a record holds of it."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from implementations.harness.results.bounds import Count, Few, NonNegative, Positive, ValueName
from implementations.harness.results.part import Part

How = Literal["lora", "full"]

WORDS: dict[str, str] = {"lora": "LoRA", "full": "full training"}
POINTS = 100
"""Losses in a record at most."""


class Recovery(Part):
    """What is trained after pruning, on how much text and how fast; by AdamW."""

    how: How
    """`lora`: low-rank factors, merged at the end; `full`: every parameter. Zeros stay zero."""
    tokens: Annotated[Count, Field(ge=1)]
    """Tokens to read, up to whole steps."""
    step: Few = 1024
    """Tokens a step, up to whole windows."""
    rate: Positive
    """Largest learning rate; it rises over a tenth of the steps and falls as a cosine."""
    rank: Few | None = None
    """Of the factors."""
    scale: Positive | None = None
    """What multiplies their product (alpha / r)."""

    @classmethod
    def by(cls, how: How, tokens: int) -> Self:
        """Return the recovery of that kind with the settings that every record here has."""
        if how == "lora":
            return cls(how=how, tokens=tokens, rate=5e-4, rank=8, scale=2.0)
        return cls(how=how, tokens=tokens, rate=5e-5)

    @model_validator(mode="after")
    def _factors_where_there_are_some(self) -> Self:
        given = {self.rank is not None, self.scale is not None}
        if given != {self.how == "lora"}:
            raise ValueError("rank and scale belong to lora, and to nothing else")
        return self

    def __str__(self) -> str:
        return f"{WORDS[self.how]} on {self.tokens:,} tokens"

    def windows(self, length: int) -> int:
        """Windows of `length` tokens a step."""
        return max(1, self.step // length)

    def steps(self, length: int) -> int:
        """Steps that read no fewer tokens than asked for."""
        return -(-self.tokens // (self.windows(length) * length))

    def read(self, length: int) -> int:
        """Tokens that these steps read."""
        return self.steps(length) * self.windows(length) * length


class Course(Part):
    """How a training went."""

    steps: Count
    read: Count
    """Tokens that were read, the same one as often as it was."""
    epochs: NonNegative
    """How often the text was read."""
    losses: Annotated[tuple[float, ...], Field(max_length=POINTS)]
    """Of the steps, in nats a token: means over stretches of equal length."""


class Recovered(Course):
    """What a recovery did: its course, and the values before it."""

    recovery: Recovery
    before: dict[ValueName, float]
    """The values of the pruned model, before it was trained."""
