"""Numbers and words that somebody asks a run with, on the command line or in a file."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

LARGEST_SEED = 2**63 - 1
"""Every generator of torch takes it."""
Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED)]
Given = Annotated[str, Field(min_length=1)]
"""A word that is there: an empty one stands for nothing, least of all for the default."""
