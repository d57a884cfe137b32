"""What the site is made from: catalog, READMEs, source files, support and records, read as data."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import griffe
from pydantic import TypeAdapter, ValidationError

from implementations.harness.errors import BadInput
from implementations.harness.results.boards import Board, boards, newest
from implementations.harness.results.reading import read_json, read_text
from implementations.harness.results.record import Record
from implementations.harness.results.store import load_records, published_folders
from implementations.harness.results.table import Filter
from tools.catalog.entries.loader import load_catalog
from tools.catalog.schema.paper import Paper
from tools.site.code import Doc, fields, load
from tools.site.quotes import Quote, quotes
from tools.site.readme import LARGEST

REPOSITORY = Path(__file__).resolve().parents[2]
KINDS = ("families", "attention", "patterns")
FOUND = TypeAdapter(dict[str, dict[str, str]])


@dataclass(frozen=True)
class Parameter:
    """One field of a method: name, type and default as its source spells them, and its meaning."""

    name: str
    type: str
    default: str
    meaning: str


@dataclass(frozen=True)
class Source:
    """What a method's file says of itself."""

    name: str
    """The class, which spells the method as its authors do."""
    about: str
    parameters: tuple[Parameter, ...]
    code: str = ""
    """The whole file."""


@dataclass(frozen=True)
class Method:
    """One method folder: sections of the README, source, what the contract found, records."""

    slug: str
    readme: str
    source: Source
    support: Mapping[str, Any]
    """The contract's `support.json`: by `families`, `attention` and `patterns`; may be empty."""
    records: tuple[Record, ...]

    @cached_property
    def quotes(self) -> list[Quote]:
        """The lines of its file that the README explains."""
        return quotes(self.readme, self.source.code)


@dataclass(frozen=True)
class Atlas:
    """Everything the pages show."""

    papers: Mapping[str, Paper]
    """Every entry of the catalog, by slug."""
    methods: Mapping[str, Method]
    """Every method folder, by slug; each has an entry."""
    records: tuple[Record, ...] = ()
    repository: str = ""
    """Address of the repository, for links to sources; empty where it is not known."""
    site: str = ""
    """Address of the site, for what is read elsewhere; empty where it is not known."""
    root: Path = REPOSITORY
    """Where the checkout lies, for sources that only one page shows."""

    def address(self, path: str) -> str:
        """Return where a file of the site is: absolute if the site's address is known."""
        return f"{self.site.rstrip('/')}/{path}" if self.site else path

    @cached_property
    def names(self) -> dict[str, str]:
        """How to write each paper in a few letters, by slug."""
        return {slug: self._name(slug, paper) for slug, paper in self.papers.items()}

    @cached_property
    def boards(self) -> list[Board]:
        """All measurements, made comparable; of the dense model alone there is nothing to show."""
        return [board for board in boards(self.records) if board.rows]

    def boards_of(self, slug: str) -> list[Board]:
        """The measurements of one method, beside the dense rows of their boards."""
        return [board for board in Filter(methods=(slug,))(self.boards) if board.rows]

    def _name(self, slug: str, paper: Paper) -> str:
        if paper.name:
            return paper.name
        if paper.kind == "method" or not paper.authors:
            return slug
        return f"{paper.authors[0].split()[-1]} {paper.year}"


def read(repository: Path = REPOSITORY, runs: Path | None = None) -> Atlas:
    """Read a checkout; `runs` adds the records of a runs folder to the published ones.

    Of two records of one request, such as a run and its repetition, the newer counts.

    Raises:
        CatalogError: an entry is wrong.
        BadInput: a record is damaged or of a newer schema.
    """
    implementations = repository / "implementations"
    folders = published_folders(implementations) + ([runs] if runs else [])
    records = tuple(newest(load_records(folders)))
    papers = load_catalog(repository / "catalog" / "papers")
    slugs = (p.stem for p in implementations.glob("*/*.py") if p.stem == p.parent.name)
    code = load(repository)
    return Atlas(
        papers=papers,
        methods={
            slug: _method(implementations / slug, code.modules[slug].modules[slug], records)
            for slug in sorted(slugs)
            if slug in papers
        },
        records=records,
        repository=os.environ.get("ATLAS_REPOSITORY", ""),
        site=os.environ.get("ATLAS_SITE", ""),
        root=repository,
    )


def _method(folder: Path, code: griffe.Module, records: tuple[Record, ...]) -> Method:
    support = folder / "records" / "support.json"
    return Method(
        slug=folder.name,
        readme=read_readme(folder / "README.md"),
        source=read_source(code),
        support=_support(support) if support.exists() else {},
        records=tuple(record for record in records if record.method == folder.name),
    )


def _support(path: Path) -> Mapping[str, Any]:
    """Read what the contract found; raises `BadInput` for what it does not write."""
    found: Mapping[str, Any] = read_json(path)
    try:
        FOUND.validate_python({name: found.get(name, {}) for name in KINDS})
    except (AttributeError, ValidationError) as error:
        raise BadInput(f"{path} is damaged; write it again: atlas support") from error
    return found


def read_readme(path: Path) -> str:
    """Read a README from its first section on: what stands above is the catalog entry's to say."""
    text = read_text(path, LARGEST) if path.exists() else ""
    start = re.search(r"^## ", text, re.MULTILINE)
    return text[start.start() :].strip() if start else ""


def read_source(module: griffe.Module) -> Source:
    """Describe the class of a module that derives from `Method` or another base of that name."""
    code = "\n".join(module.lines) + "\n"
    for one in module.classes.values():
        if not one.is_alias and any(str(base).endswith("Method") for base in one.bases):
            return Source(one.name, Doc.of(one.docstring).summary, tuple(_parameters(one)), code)
    return Source(module.name, "", (), code)


def _parameters(method: griffe.Class) -> Iterator[Parameter]:
    """Yield the fields of a method, with those of its bases."""
    for field in fields(method):
        meaning = Doc.of(field.docstring)
        yield Parameter(
            name=field.name,
            type=str(field.annotation),
            default=_default(field.value),
            meaning=" ".join((meaning.summary, *meaning.more)),
        )


def _default(value: str | griffe.Expr | None) -> str:
    """Spell a default, also one inside `Field(default=...)`."""
    if isinstance(value, griffe.ExprCall) and str(value.function) == "Field":
        for one in value.arguments:
            if not isinstance(one, griffe.ExprKeyword):
                return str(one)
            if one.name == "default":
                return str(one.value)
        return ""
    return "" if value is None else str(value)
