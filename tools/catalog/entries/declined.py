"""Papers that lists name and that the catalog does not include, in `catalog/declined.yaml`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from tools.catalog.documents.diagnostics import CatalogError, Problem
from tools.catalog.documents.validation import validate
from tools.catalog.documents.yaml_reader import Document, read
from tools.catalog.schema.field_types import Line, Short, StrictModel
from tools.catalog.schema.paper import Ids
from tools.repository import REPOSITORY, checkout


class DeclinedPaper(StrictModel):
    """One paper, and why the catalog does not include it."""

    title: Line = Field(description="Title.", examples=["A Paper on Token Pruning"])
    ids: Ids = Field(description="Identifiers, at least one.", examples=["{arxiv: 2301.00774}"])
    reason: Short = Field(description="Reason in a few words.", examples=["Prunes tokens."])

    @field_validator("ids")
    @classmethod
    def _is_identified(cls, ids: Ids) -> Ids:
        if not list(ids):
            advice = {"advice": "add one, for example arxiv"}
            raise PydanticCustomError("ids", "contains no identifier", advice)
        return ids


class DeclinedPapers(StrictModel):
    """The file."""

    about: str
    papers: Annotated[tuple[DeclinedPaper, ...], Field(min_length=1)]


def load_declined(papers: Path) -> Sequence[DeclinedPaper]:
    """Return the declined papers of the checkout that contains a folder of entries.

    Raises `CatalogError` if the file is invalid. A checkout without the file declined no paper.
    """
    declined, problems, _ = read_declined(checkout(papers))
    if problems:
        raise CatalogError(problems)
    return declined


def read_declined(root: Path) -> tuple[Sequence[DeclinedPaper], list[Problem], Document]:
    """Return the declined papers of a checkout, the problems of the file and its document."""
    path = root / "catalog" / "declined.yaml"
    name = path.relative_to(REPOSITORY) if path.is_relative_to(REPOSITORY) else path
    if not path.exists():
        return (), [], Document(name)
    document = read(path, name)
    found, problems = validate(document, DeclinedPapers, "a declined paper")
    return found.papers if found else (), problems, document
