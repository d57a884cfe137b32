"""What the site is made from: catalog, READMEs, source files, support and records, read as data."""

from __future__ import annotations

import ast
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from implementations.harness.results.record import Record, load_records, published_folders
from tools.catalog.entries.loader import load_catalog
from tools.catalog.schema.paper import Paper
from tools.site.results import Board, boards

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Parameter:
    """One field of a method: name, type and default as its source spells them, and its meaning."""

    name: str
    type: str
    default: str
    meaning: str


@dataclass(frozen=True)
class Source:
    """What a method's file says of itself, read from its syntax tree."""

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
    def boards(self) -> list[Board]:
        """Its measurements, made comparable."""
        return boards(self.records)


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
        """All measurements, made comparable."""
        return boards(self.records)

    def _name(self, slug: str, paper: Paper) -> str:
        if paper.name:
            return paper.name
        family = paper.authors[0].split()[-1]
        return f"{family} {paper.year}" if paper.kind != "method" else slug


def read(repository: Path = REPOSITORY, runs: Path | None = None) -> Atlas:
    """Read a checkout; `runs` adds the records of a runs folder to the published ones.

    Of two records of one request, such as a run and its repetition, the newer counts.

    Raises:
        CatalogError: an entry is wrong.
        BadInput: a record is damaged or of a newer schema.
    """
    implementations = repository / "implementations"
    folders = published_folders(implementations) + ([runs] if runs else [])
    found = sorted(load_records(folders), key=lambda record: record.date)
    records = tuple({record.key: record for record in found}.values())
    papers = load_catalog(repository / "catalog" / "papers")
    slugs = (p.stem for p in implementations.glob("*/*.py") if p.stem == p.parent.name)
    return Atlas(
        papers=papers,
        methods={
            slug: _method(implementations / slug, records)
            for slug in sorted(slugs)
            if slug in papers
        },
        records=records,
        repository=os.environ.get("ATLAS_REPOSITORY", ""),
        site=os.environ.get("ATLAS_SITE", ""),
        root=repository,
    )


def _method(folder: Path, records: tuple[Record, ...]) -> Method:
    support = folder / "records" / "support.json"
    return Method(
        slug=folder.name,
        readme=read_readme(folder / "README.md"),
        source=read_source(folder / f"{folder.name}.py"),
        support=json.loads(support.read_text(encoding="utf-8")) if support.exists() else {},
        records=tuple(record for record in records if record.method == folder.name),
    )


def read_readme(path: Path) -> str:
    """Read a README from its first section on: what stands above is the catalog entry's to say."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    start = re.search(r"^## ", text, re.MULTILINE)
    return text[start.start() :].strip() if start else ""


def read_source(path: Path) -> Source:
    """Describe the class derived from `Method` in a file, without importing it and so torch."""
    code = path.read_text(encoding="utf-8")
    for node in ast.parse(code).body:
        if isinstance(node, ast.ClassDef) and "Method" in map(ast.unparse, node.bases):
            about = " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())
            return Source(node.name, about, tuple(_parameters(node)), code)
    return Source(path.stem, "", (), code)


def _parameters(node: ast.ClassDef) -> list[Parameter]:
    """List the annotated fields of a class with the string below each."""
    return [
        Parameter(
            name=ast.unparse(field.target),
            type=ast.unparse(field.annotation),
            default=_default(field.value),
            meaning=_string(below),
        )
        for field, below in zip(node.body, [*node.body[1:], None], strict=True)
        if isinstance(field, ast.AnnAssign) and "ClassVar" not in ast.unparse(field.annotation)
    ]


def _default(value: ast.expr | None) -> str:
    """Spell a default, also one inside `Field(default=...)`."""
    if isinstance(value, ast.Call) and ast.unparse(value.func) == "Field":
        named = {keyword.arg: keyword.value for keyword in value.keywords}
        value = value.args[0] if value.args else named.get("default")
    return ast.unparse(value) if value else ""


def _string(node: ast.stmt | None) -> str:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return " ".join(str(node.value.value).split())
    return ""
