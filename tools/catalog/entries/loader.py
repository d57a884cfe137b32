"""The entries of a catalog, read from a folder."""

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
    """One paper under its slug, with the document it was read from."""

    slug: str
    paper: Paper
    document: Document

    def problem(self, *loc: str | int, message: str, advice: str = "", **more: object) -> Problem:
        """Make a problem of one of its fields."""
        return self.document.problem(loc, message, advice, **more)


@dataclass
class Catalog:
    """Entries by slug; documents that hold none are only in the problems."""

    entries: dict[str, Entry] = field(default_factory=dict)
    documents: list[Document] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    @property
    def papers(self) -> Mapping[str, Paper]:
        """Papers by slug."""
        return {slug: entry.paper for slug, entry in self.entries.items()}


def read_catalog(folder: Path = PAPERS, files: Iterable[Path] = ()) -> Catalog:
    """Read every entry of a folder, collecting the problems of all files.

    `files` lie elsewhere and are read as if they lay in the folder.
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
        advice = "name it <slug>.yaml: lower-case letters and digits, a letter first"
        catalog.problems.append(Problem(name, 1, "", "is not named as an entry", advice))
        return
    document = read(path, name)
    catalog.documents.append(document)
    paper, problems = validate(document, Paper)
    catalog.problems += problems
    if paper:
        catalog.entries[path.stem] = Entry(path.stem, paper, document)


def load_catalog(folder: Path = PAPERS) -> Mapping[str, Paper]:
    """Return the papers of a folder by slug; raises `CatalogError` where a file is wrong."""
    catalog = read_catalog(folder)
    if catalog.problems:
        raise CatalogError(catalog.problems)
    return catalog.papers
