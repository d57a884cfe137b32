"""Reading the entries of a catalog."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tools.catalog.documents.diagnostics import CatalogError, Problem
from tools.catalog.documents.validation import validate
from tools.catalog.documents.yaml_reader import Document, read
from tools.catalog.schema.identifiers import SLUG, Form
from tools.catalog.schema.paper import Paper
from tools.repository import REPOSITORY

PAPERS = REPOSITORY / "catalog" / "papers"


@dataclass(frozen=True)
class Entry:
    """One paper with its slug and its document."""

    slug: str
    paper: Paper
    document: Document

    def problem(self, *loc: str | int, message: str, advice: str = "", **more: object) -> Problem:
        """Return a problem of one field."""
        return self.document.problem(loc, message, advice, **more)


@dataclass
class Catalog:
    """The valid entries by slug, all documents, and the problems of invalid ones."""

    entries: dict[str, Entry] = field(default_factory=dict)
    documents: list[Document] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    @property
    def papers(self) -> Mapping[str, Paper]:
        """Papers by slug."""
        return {slug: entry.paper for slug, entry in self.entries.items()}


def read_catalog(folder: Path = PAPERS, files: Iterable[Path] = ()) -> Catalog:
    """Read all entries of a folder and collect the problems of all files.

    `files` are outside of the folder and treated as if they were inside.
    """
    catalog = Catalog()
    paths = {path.name: path for path in (*sorted(folder.iterdir()), *files)}
    for path in paths.values():
        if not path.name.startswith("."):
            _add(catalog, path)
    return catalog


def _add(catalog: Catalog, path: Path) -> None:
    name = path.relative_to(REPOSITORY) if path.is_relative_to(REPOSITORY) else path
    if path.suffix != ".yaml" or not Form(SLUG, "a slug", "sparsegpt").fits(path.stem):
        advice = "name it <slug>.yaml with lower-case letters and digits, starting with a letter"
        catalog.problems.append(Problem(name, 1, "", "is not a valid file name", advice))
        return
    document = read(path, name)
    catalog.documents.append(document)
    paper, problems = validate(document, Paper)
    catalog.problems += problems
    if paper:
        catalog.entries[path.stem] = Entry(path.stem, paper, document)


def load_catalog(folder: Path = PAPERS) -> Mapping[str, Paper]:
    """Return the papers of a folder by slug; raises `CatalogError` if a file is invalid."""
    catalog = read_catalog(folder)
    if catalog.problems:
        raise CatalogError(catalog.problems)
    return catalog.papers
