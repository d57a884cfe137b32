"""The input of the site: catalog, READMEs, source files and records."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import griffe

from implementations.harness.results import families
from implementations.harness.results.boards import Board, boards, newest
from implementations.harness.results.reading import read_text
from implementations.harness.results.record import DENSE, Record
from implementations.harness.results.store import load_records, methods, published_folders
from implementations.harness.results.table import Filter
from tools.catalog.entries.loader import load_catalog
from tools.catalog.schema.paper import Paper
from tools.repository import REPOSITORY
from tools.site.code import Doc, fields, load
from tools.site.paper_names import short_names
from tools.site.quotes import Quote, quotes
from tools.site.readme import MAX_BYTES

PATTERNS = ("1:4", "2:4", "4:8")
"""N:M patterns that the contract tests."""


@dataclass(frozen=True)
class Parameter:
    """One field of a method: its meaning, and name, type and default as written in the source."""

    name: str
    type: str
    default: str
    meaning: str


@dataclass(frozen=True)
class Source:
    """The class that a method's file defines."""

    name: str
    """Name of the class, which is the method's name as its authors spell it."""
    about: str
    """First paragraph of the class docstring."""
    parameters: tuple[Parameter, ...]
    code: str = ""
    """The whole file."""


@dataclass(frozen=True)
class Method:
    """One method folder: README, source and records."""

    slug: str
    readme: str
    source: Source
    records: tuple[Record, ...]

    @property
    def granularity(self) -> frozenset[str]:
        """What the method removes."""
        return frozenset(self.capabilities.get("granularity", ()))

    @property
    def patterns(self) -> tuple[str, ...]:
        """The N:M patterns that it supports; the contract tests them."""
        return PATTERNS if "semi-structured" in self.granularity else ()

    @property
    def families(self) -> dict[str, str]:
        """The model families of its kind, each with the reason if it is refused, else empty."""
        kind = families.MIXTURES if "experts" in self.granularity else families.DECODERS
        refuses = self.capabilities.get("refuses", {})
        return {name: refuses.get(name, "") for name in kind} if self.granularity else {}

    @cached_property
    def capabilities(self) -> dict[str, Any]:
        """The capabilities that the method's file declares."""
        tree = ast.parse(self.source.code)
        constants = dict(vars(families))
        for node in tree.body:
            match node:
                case ast.Assign([ast.Name(name)], ast.Constant(value)):
                    constants[name] = value
        return {
            one.arg: _value(one.value, constants)
            for call in ast.walk(tree)
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "Capabilities"
            for one in call.keywords
            if one.arg
        }

    @cached_property
    def quotes(self) -> list[Quote]:
        """The lines of the method's file that the README explains."""
        return quotes(self.readme, self.source.code)


def _value(node: ast.expr, constants: Mapping[str, Any]) -> Any:
    """Return the value of a literal that may contain constants and the union of dictionaries."""
    match node:
        case ast.Name(name):
            return constants[name]
        case ast.BinOp(left, ast.BitOr(), right):
            return _value(left, constants) | _value(right, constants)
        case ast.Dict(keys, values):
            pairs = zip(keys, values, strict=True)
            return {ast.literal_eval(key or node): _value(one, constants) for key, one in pairs}
    return ast.literal_eval(node)


@dataclass(frozen=True)
class Counts:
    """Sizes of the catalog, each with the name under which all pages show it."""

    entries: int
    """All entries, including baselines without a paper."""
    papers: int
    methods: int
    """Papers whose subject is a method."""
    implemented: int
    """Those of `methods` that are implemented here."""
    baselines: int
    """Implemented baselines without a paper."""


@dataclass(frozen=True)
class Atlas:
    """All input of the pages."""

    papers: Mapping[str, Paper]
    """Every entry of the catalog, by slug."""
    methods: Mapping[str, Method]
    """Every method folder, by slug; each has an entry."""
    records: tuple[Record, ...] = ()
    repository: str = ""
    """Address of the repository, for links to sources; empty if not known."""
    site: str = ""
    """Address of the site, for files that are read elsewhere; empty if not known."""
    root: Path = REPOSITORY
    """Path of the checkout, for sources that only one page shows."""

    def address(self, path: str) -> str:
        """Return the address of a file of the site, absolute if the site's address is known."""
        return f"{self.site.rstrip('/')}/{path}" if self.site else path

    @cached_property
    def counts(self) -> Counts:
        """The sizes of the catalog."""
        with_paper = {slug for slug, paper in self.papers.items() if paper.has_paper}
        methods = {slug for slug in with_paper if self.papers[slug].is_method}
        return Counts(
            entries=len(self.papers),
            papers=len(with_paper),
            methods=len(methods),
            implemented=len(methods & set(self.methods)),
            baselines=len(set(self.methods) - with_paper),
        )

    @cached_property
    def names(self) -> dict[str, str]:
        """The short name of each paper, by slug; no two are equal."""
        return short_names(self.papers)

    @cached_property
    def boards(self) -> list[Board]:
        """All leaderboards with at least one method."""
        return [board for board in boards(self.records) if board.rows]

    def boards_of(self, slug: str) -> list[Board]:
        """Return the leaderboards with the rows of one method."""
        return [board for board in Filter(methods=(slug,))(self.boards) if board.rows]


def read(repository: Path = REPOSITORY, runs: Path | None = None) -> Atlas:
    """Read a checkout; `runs` adds the records of a runs folder to the published ones.

    If a run was repeated, only the newest of its records is used.

    Raises:
        CatalogError: an entry is invalid.
        BadInput: a record is damaged or has a newer schema.
    """
    implementations = repository / "implementations"
    folders = published_folders(implementations) + ([runs] if runs else [])
    papers = load_catalog(repository / "catalog" / "papers")
    slugs = [slug for slug in methods(implementations) if slug in papers]
    # Methods outside the atlas have no page that their records could link to.
    records = tuple(one for one in newest(load_records(folders)) if one.method in (DENSE, *slugs))
    code = load(repository)
    return Atlas(
        papers=papers,
        methods={
            slug: _method(implementations / slug, code.modules[slug].modules[slug], records)
            for slug in slugs
        },
        records=records,
        repository=os.environ.get("ATLAS_REPOSITORY", ""),
        site=os.environ.get("ATLAS_SITE", ""),
        root=repository,
    )


def _method(folder: Path, code: griffe.Module, records: tuple[Record, ...]) -> Method:
    return Method(
        slug=folder.name,
        readme=read_readme(folder / "README.md"),
        source=read_source(code),
        records=tuple(record for record in records if record.method == folder.name),
    )


def read_readme(path: Path) -> str:
    """Read a README from its first section on; the page shows the catalog entry above it."""
    text = read_text(path, MAX_BYTES) if path.exists() else ""
    start = re.search(r"^## ", text, re.MULTILINE)
    return text[start.start() :].strip() if start else ""


def read_source(module: griffe.Module) -> Source:
    """Describe the class of a module that derives from a base whose name ends in `Method`."""
    code = "\n".join(module.lines) + "\n"
    for one in module.classes.values():
        if not one.is_alias and any(str(base).endswith("Method") for base in one.bases):
            return Source(one.name, Doc.of(one.docstring).summary, tuple(_parameters(one)), code)
    return Source(module.name, "", (), code)


def _parameters(method: griffe.Class) -> Iterator[Parameter]:
    """Yield the fields of a method, including inherited ones."""
    for field in fields(method):
        meaning = Doc.of(field.docstring)
        yield Parameter(
            name=field.name,
            type=str(field.annotation),
            default=_default(field.value),
            meaning=" ".join((meaning.summary, *meaning.more)),
        )


def _default(value: str | griffe.Expr | None) -> str:
    """Return a default as written in the source, also inside `Field(default=...)`."""
    if isinstance(value, griffe.ExprCall) and str(value.function) == "Field":
        for one in value.arguments:
            if not isinstance(one, griffe.ExprKeyword):
                return str(one)
            if one.name == "default":
                return str(one.value)
        return ""
    return "" if value is None else str(value)
