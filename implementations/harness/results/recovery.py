"""Settings of the fine-tuning after pruning, and the course of a training in a record."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from implementations.harness.results.reading import (
    Count,
    Few,
    NonNegative,
    Positive,
    StrictModel,
    ValueName,
)

How = Literal["lora", "full"]

WORDS: dict[str, str] = {"lora": "LoRA", "full": "full training"}
POINTS = 100
"""Maximum number of losses in a record."""


class Recovery(StrictModel):
    """Settings of the fine-tuning after pruning, which uses AdamW and keeps pruned weights zero."""

    how: How
    """`lora` trains LoRA factors, merged at the end; `full` trains every parameter."""
    tokens: Annotated[Count, Field(ge=1)]
    """Training tokens, rounded up to whole steps."""
    step: Few = 1024
    """Tokens per step, rounded down to whole windows (at least one)."""
    rate: Positive
    """Peak learning rate: linear warm-up over a tenth of the steps, then cosine decay."""
    rank: Few | None = None
    """Rank of the LoRA factors."""
    scale: Positive | None = None
    """Scale of the product of the LoRA factors (alpha / r)."""

    @classmethod
    def by(cls, how: How, tokens: int) -> Self:
        """Return the default settings for a kind of fine-tuning."""
        if how == "lora":
            return cls(how=how, tokens=tokens, rate=5e-4, rank=8, scale=2.0)
        return cls(how=how, tokens=tokens, rate=5e-5)

    @model_validator(mode="after")
    def _rank_and_scale_for_lora_only(self) -> Self:
        given = {self.rank is not None, self.scale is not None}
        if given != {self.how == "lora"}:
            raise ValueError("rank and scale are required for lora and not allowed otherwise")
        return self

    def __str__(self) -> str:
        return f"{WORDS[self.how]} on {self.tokens:,} tokens"

    def windows(self, length: int) -> int:
        """Return the number of windows of `length` tokens per step."""
        return max(1, self.step // length)

    def steps(self, length: int) -> int:
        """Return the number of steps needed to read at least `tokens` tokens."""
        return -(-self.tokens // (self.windows(length) * length))

    def read(self, length: int) -> int:
        """Return the number of tokens that these steps read."""
        return self.steps(length) * self.windows(length) * length


class Course(StrictModel):
    """The course of a training."""

    steps: Count
    read: Count
    """Tokens read, counting repeated ones each time."""
    epochs: NonNegative
    """Number of passes over the text."""
    losses: Annotated[tuple[float, ...], Field(max_length=POINTS)]
    """Training loss in nats per token, averaged over stretches of equally many steps."""


class Recovered(Course):
    """The course of a fine-tuning after pruning, with the values before it."""

    recovery: Recovery
    before: dict[ValueName, float]
    """Values of the pruned model before the fine-tuning."""
