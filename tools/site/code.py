"""Signatures and docstrings of source files, read by griffe without importing them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import resolve_name
from itertools import accumulate
from pathlib import Path

import griffe

HARNESS = Path("implementations") / "harness"
STUBS = (
    HARNESS / "__init__.pyi",
    Path("tools") / "package" / "pruning_atlas" / "__init__.pyi",
)
"""The files that list the public names: `pruning_atlas` exports those of both."""
WIDTH = 84
"""Longest signature on one line, in characters."""


@dataclass(frozen=True)
class Doc:
    """A parsed docstring."""

    summary: str = ""
    """Its first paragraph, on one line."""
    more: tuple[str, ...] = ()
    """The other paragraphs; code keeps its line breaks."""
    raises: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, docstring: griffe.Docstring | None) -> Doc:
        """Parse a docstring; None gives an empty one."""
        sections = docstring.parse("google", warnings=False) if docstring else []
        texts = [one for one in sections if isinstance(one, griffe.DocstringSectionText)]
        raises = [one for one in sections if isinstance(one, griffe.DocstringSectionRaises)]
        first, *more = [part for one in texts for part in re.split(r"\n\s*\n", one.value)] or [""]
        return cls(
            line(first),
            tuple(part if part.startswith("    ") else line(part) for part in more),
            tuple(
                (str(error.annotation), line(error.description))
                for one in raises
                for error in one.value
            ),
        )


@dataclass(frozen=True)
class Name:
    """A public name with its kind, signature and docstring."""

    name: str
    kind: str
    """`class`, `function`, `property`, `field` or `value`."""
    signature: str
    doc: Doc
    members: tuple[Name, ...] = ()


@dataclass(frozen=True)
class Module:
    """A file and some of its names."""

    path: str
    """Relative to the root of the repository."""
    doc: Doc
    names: tuple[Name, ...]

    @property
    def name(self) -> str:
        """The module's name."""
        return Path(self.path).stem


def load(root: Path, name: str = "implementations") -> griffe.Module:
    """Read a package or a module in a folder; cached until one of its files changes.

    Raises:
        ModuleNotFoundError: there is none of this name.
    """
    files = [*root.glob(f"{name}.py"), *(root / name).rglob("*.py*")]
    return _load(root, name, tuple(sorted((path, path.stat().st_mtime_ns) for path in files)))


@lru_cache(maxsize=4)
def _load(root: Path, name: str, state: tuple[tuple[Path, int], ...]) -> griffe.Module:
    loader = griffe.GriffeLoader(search_paths=[root], allow_inspection=False)
    package = loader.load(name, try_relative_path=False)
    assert isinstance(package, griffe.Module)
    return package


def exported(root: Path) -> list[Module]:
    """Read all names of `pruning_atlas`, grouped by the module that defines them."""
    names: dict[Path, list[str]] = {}
    for stub in STUBS:
        package = ".".join(stub.parent.parts)
        for node in ast.parse((root / stub).read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ImportFrom) and node.names[0].name != "*":
                path = resolve_name("." * node.level + str(node.module), package)
                file = Path(*path.split(".")).with_suffix(".py")
                known = names.setdefault(file, [])
                known += [alias.name for alias in node.names if alias.name not in known]
    return [module(file, wanted, root) for file, wanted in names.items()]


def module(path: Path, names: list[str], root: Path) -> Module:
    """Read some names of a file; raises `KeyError` if the file has no such name."""
    package, *inner = path.with_suffix("").parts
    source = load(root, package)
    for part in inner:
        source = source.modules[part]
    return Module(path.as_posix(), Doc.of(source.docstring), tuple(_name(source[n]) for n in names))


def decorated(module: griffe.Module, decorator: str) -> Iterator[tuple[griffe.Function, str]]:
    """Yield the functions with a decorator, and the decorator's first positional argument."""
    own = (one for one in module.members.values() if isinstance(one, griffe.Function))
    for function in own:
        for mark in function.decorators:
            if mark.callable_path.rpartition(".")[2] == decorator:
                arguments = mark.value.arguments if isinstance(mark.value, griffe.ExprCall) else []
                said = [str(one) for one in arguments if not isinstance(one, griffe.ExprKeyword)]
                yield function, ast.literal_eval(said[0]) if said else ""


def fields(cls: griffe.Class) -> Iterator[griffe.Attribute]:
    """Yield the annotated fields of a class and of its bases."""
    attributes = {
        one.name: one
        for base in (*reversed(cls.mro()), cls)
        for one in base.members.values()
        if isinstance(one, griffe.Attribute)
        and one.annotation is not None
        and not one.name.startswith("_")
        and "property" not in one.labels
        and not _of_class(one)
    }
    yield from attributes.values()


def line(text: str) -> str:
    """Write text on one line."""
    return " ".join(text.split())


def _of_class(one: griffe.Attribute) -> bool:
    """Whether an attribute is a class variable."""
    return one.labels == {"class-attribute"}


def _name(member: griffe.Object | griffe.Alias) -> Name:
    """Read a name where it is defined."""
    one = member.final_target if isinstance(member, griffe.Alias) else member
    doc = Doc.of(one.docstring)
    if isinstance(one, griffe.Class):
        return Name(one.name, "class", _class(one), doc, tuple(_members(one)))
    if isinstance(one, griffe.Function):
        return Name(one.name, "function", _signature(one), doc)
    assert isinstance(one, griffe.Attribute)
    if one.annotation is None:
        return Name(one.name, "value", f"{one.name} = {one.value}", doc)
    kind = "property" if "property" in one.labels else "field"
    type_ = f"ClassVar[{one.annotation}]" if _of_class(one) else str(one.annotation)
    value = f" = {one.value}" if one.value is not None else ""
    return Name(one.name, kind, f"{one.name}: {type_}{value}", doc)


def _class(one: griffe.Class) -> str:
    """Return the signature of the constructor, or the bases if there is none."""
    made = one.members.get("__init__")
    if isinstance(made, griffe.Function) and not ("dataclass" in one.labels and one.bases):
        return f"class {_signature(made, one.name).removesuffix(' -> None')}"
    return f"class {one.name}" + f"({', '.join(map(str, one.bases))})" * bool(one.bases)


def _members(one: griffe.Class) -> Iterator[Name]:
    """Yield the public fields, properties and methods of a class."""
    for member in one.members.values():
        typed = isinstance(member, griffe.Attribute) and member.annotation is not None
        if (typed or isinstance(member, griffe.Function)) and not member.name.startswith("_"):
            yield _name(member)


def _signature(function: griffe.Function, name: str = "") -> str:
    """Return the signature of a function, on one line if it fits."""
    name = name or function.name
    whole = function.signature(name=name)
    if len(whole) <= WIDTH:
        return whole
    given = function.signature(name=name, return_type=False)
    returns = whole.removeprefix(given)
    given = given[len(name) + 1 : -1]
    depths = accumulate((c in "([{") - (c in ")]}") for c in given)
    lines = "".join(
        ",\n   " if c == "," and not depth else c for c, depth in zip(given, depths, strict=True)
    )
    return f"{name}(\n    {lines},\n){returns}"
