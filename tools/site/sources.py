"""What the site is made from: catalog entries, READMEs, parameters and records, read as data."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import yaml

from implementations.harness.record import Record, load_records, published_folders

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


@dataclass(frozen=True)
class Entry:
    """What the pages show of a catalog entry; all of it empty where there is none yet."""

    title: str = ""
    authors: tuple[str, ...] = ()
    venue: str = ""
    year: str = ""
    summary: str = ""
    fidelity: str = ""
    links: tuple[tuple[str, str], ...] = ()
    """Words and address of each place to go on to."""


@dataclass(frozen=True)
class Method:
    """One implemented method: catalog entry, sections of the README, source, records."""

    slug: str
    entry: Entry
    readme: str
    source: Source
    records: tuple[Record, ...]


@dataclass(frozen=True)
class Atlas:
    """Everything the pages show."""

    methods: tuple[Method, ...]
    records: tuple[Record, ...]

    @cached_property
    def names(self) -> dict[str, str]:
        """How to write each method, by slug."""
        return {method.slug: method.source.name for method in self.methods}


def read(repository: Path = REPOSITORY, runs: Path | None = None) -> Atlas:
    """Read a checkout; `runs` adds the records of a runs folder to the published ones.

    Of two records of one request, such as a run and its repetition, the newer counts.

    Raises:
        BadInput: a record is damaged or of a newer schema.
    """
    implementations = repository / "implementations"
    folders = published_folders(implementations) + ([runs] if runs else [])
    found = sorted(load_records(folders), key=lambda record: record.date)
    records = {record.key: record for record in found}
    slugs = sorted(p.stem for p in implementations.glob("*/*.py") if p.stem == p.parent.name)
    return Atlas(
        methods=tuple(_method(repository, slug, records.values()) for slug in slugs),
        records=tuple(records.values()),
    )


def _method(repository: Path, slug: str, records: Iterable[Record]) -> Method:
    folder = repository / "implementations" / slug
    return Method(
        slug=slug,
        entry=read_entry(repository / "catalog" / "papers" / f"{slug}.yaml"),
        readme=read_readme(folder / "README.md"),
        source=read_source(folder / f"{slug}.py"),
        records=tuple(record for record in records if record.method == slug),
    )


def read_entry(path: Path) -> Entry:
    """Read a catalog entry, safely; an empty one where there is no file."""
    if not path.exists():
        return Entry()
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    data: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)
    words = {
        name: str(data.get(name, "")) for name in ("title", "venue", "year", "summary", "fidelity")
    }
    return Entry(**words, authors=tuple(map(str, data.get("authors", ()))), links=_links(data))


def _links(data: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """List paper and code of an entry, leaving out what a browser should not open."""
    ids = {name: str(value) for name, value in data.get("ids", {}).items()}
    found = [(name, str(address)) for name, address in data.get("links", {}).items()]
    if "doi" in ids:
        found.insert(0, ("DOI", f"https://doi.org/{quote(ids['doi'])}"))
    if "arxiv" in ids:
        found.insert(0, (f"arXiv:{ids['arxiv']}", f"https://arxiv.org/abs/{quote(ids['arxiv'])}"))
    for code in data.get("code", ()):
        found.append(("official code" if code.get("official") else "code", str(code["url"])))
    return tuple(link for link in found if urlsplit(link[1]).scheme in ("http", "https"))


def read_readme(path: Path) -> str:
    """Read a README from its first section on: what stands above is the catalog entry's to say."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    start = re.search(r"^## ", text, re.MULTILINE)
    return text[start.start() :].strip() if start else ""


def read_source(path: Path) -> Source:
    """Describe the class derived from `Method` in a file, without importing it and so torch."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and "Method" in map(ast.unparse, node.bases):
            about = " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())
            return Source(node.name, about, tuple(_parameters(node)))
    return Source(path.stem, "", ())


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
