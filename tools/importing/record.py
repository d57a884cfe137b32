"""The schema of a collected record."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tools.catalog.schema.field_types import Flag, Line, Many, Short, Year
from tools.catalog.schema.identifiers import Address, Slug
from tools.catalog.schema.paper import Ids


class Record(Ids):
    """One paper of a collected list; its facts still have to be verified."""

    slug: Slug = Field(examples=["sparsegpt"])
    title: Line = Field(examples=["SparseGPT: Massive Language Models Can be Pruned in One-Shot"])
    authors: Annotated[tuple[Short, ...], Field(min_length=1, max_length=5000)] | None = None
    year: Year | None = None
    venue: Short | None = None
    """Free text: `EMNLP Findings 2024`, `arXiv`."""

    url: Address | None = None
    """A page of a paper without identifier."""
    code: Address | None = None
    code_official: Flag | None = None

    kind: Short | None = None
    role: Short | None = None
    granularity: Many[Short] | None = None
    prunes: Many[Short] | None = None
    criterion: Many[Short] | None = None
    calibration: Short | None = None
    recovery: Short | None = None
    allocation: Short | None = None
    when: Many[Short] | None = None
    combines: Many[Short] | None = None
    architecture: Many[Short] | None = None
    topic: Many[Short] | None = None

    sources: Many[Line] | None = None
    """Lists that name the paper."""
    conflicts: Line | None = None
    """Contradictions between these lists."""
    status: Short | None = None
    era: Short | None = None
    """Notes of the person who collected the list; `status` and `era` are ignored."""
