"""Source files read as documentation: signatures and docstrings by `ast`, nothing imported."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tools.site.atlas import REPOSITORY

HARNESS = Path("implementations") / "harness"
WIDTH = 84
"""Characters beyond which a signature has a line for each parameter."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Doc:
    """A docstring taken apart."""

    summary: str = ""
    """Its first paragraph, on one line."""
    more: tuple[str, ...] = ()
    """The other paragraphs; one that is code keeps its lines."""
    raises: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, text: str | None) -> Doc:
        """Take a docstring apart; an empty one for None."""
        first, *others = re.split(r"\n\s*\n", (text or "").strip())
        raises = [part for part in others if part.startswith("Raises:")]
        more = [part if part.startswith("    ") else _line(part) for part in others]
        return cls(
            _line(first),
            tuple(kept for kept, part in zip(more, others, strict=True) if part not in raises),
            tuple(error for part in raises for error in _raises(part)),
        )


@dataclass(frozen=True)
class Name:
    """One public name: what it is, how it is called, what it says of itself."""

    name: str
    kind: str
    """`class`, `function`, `property`, `field` or `value`."""
    signature: str
    doc: Doc
    members: tuple[Name, ...] = ()


@dataclass(frozen=True)
class Module:
    """A file with the names it is read for."""

    path: str
    """From the root of the repository."""
    doc: Doc
    names: tuple[Name, ...]

    @property
    def name(self) -> str:
        """The module's name."""
        return Path(self.path).stem


def exported(root: Path = REPOSITORY) -> list[Module]:
    """Read every name that the harness exports, by the module that defines it."""
    stub = ast.parse((root / HARNESS / "__init__.pyi").read_text(encoding="utf-8"))
    return [
        module(
            HARNESS / f"{(node.module or '').replace('.', '/')}.py",
            [alias.name for alias in node.names],
            root,
        )
        for node in stub.body
        if isinstance(node, ast.ImportFrom)
    ]


def module(path: Path, names: list[str], root: Path = REPOSITORY) -> Module:
    """Read some names of a file; raises `KeyError` for one that it does not define or import."""
    found = tuple(_find(name, path, root) for name in names)
    return Module(path.as_posix(), Doc.of(ast.get_docstring(_tree(root / path))), found)


def functions(path: Path, root: Path = REPOSITORY) -> list[Function]:
    """List the functions of a file, for what only their syntax says."""
    return [node for node in _tree(root / path).body if isinstance(node, Function)]


def signature(node: Function, name: str = "", bound: bool = False) -> str:
    """Write how a function is called, on one line if it fits; `bound` leaves out the first."""
    given = list(_parameters(node.args))[bound:]
    while given and given[0] == "/":
        given = given[1:]
    name = name or node.name
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    line = f"{name}({', '.join(given)}){returns}"
    if len(line) <= WIDTH:
        return line
    return f"{name}(\n" + "".join(f"    {one},\n" for one in given) + f"){returns}"


@cache
def _read(path: Path, changed: int) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _tree(path: Path) -> ast.Module:
    return _read(path, path.stat().st_mtime_ns)


def _find(name: str, path: Path, root: Path) -> Name:
    """Return a name where it is defined, following imports from one file to the next."""
    tree = _tree(root / path)
    defined = dict(_defined(tree.body))
    if name in defined:
        return defined[name]
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and any(alias.name == name for alias in node.names):
            return _find(name, Path(*(node.module or "").split(".")).with_suffix(".py"), root)
    raise KeyError(f"{path} has no {name}")


def _defined(body: list[ast.stmt]) -> Iterator[tuple[str, Name]]:
    for node, below in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.ClassDef):
            yield node.name, _class(node)
        elif isinstance(node, Function):
            yield node.name, Name(node.name, "function", signature(node), _doc(node))
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            yield name, Name(name, "value", ast.unparse(node), Doc.of(_string(below)))


def _class(node: ast.ClassDef) -> Name:
    made = next((f for f in node.body if isinstance(f, Function) and f.name == "__init__"), None)
    bases = ", ".join(map(ast.unparse, node.bases))
    how = f"({bases})" if bases else ""
    call = signature(made, node.name, bound=True).replace(" -> None", "") if made else ""
    return Name(
        node.name,
        "class",
        f"class {call}" if call else f"class {node.name}{how}",
        _doc(node),
        tuple(_members(node)),
    )


def _members(node: ast.ClassDef) -> Iterator[Name]:
    """Yield the documented public fields, properties and methods of a class."""
    for part, below in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(part, ast.AnnAssign):
            name, text = ast.unparse(part.target), _string(below)
            if not name.startswith("_") and (text or part.simple):
                yield Name(name, "field", ast.unparse(part), Doc.of(text))
        elif isinstance(part, Function) and not part.name.startswith("_"):
            marks = {ast.unparse(mark) for mark in part.decorator_list}
            if marks & {"property", "cached_property"}:
                returns = ast.unparse(part.returns) if part.returns else ""
                yield Name(part.name, "property", f"{part.name}: {returns}", _doc(part))
            else:
                bound = "staticmethod" not in marks
                yield Name(part.name, "function", signature(part, bound=bound), _doc(part))


def _parameters(given: ast.arguments) -> Iterator[str]:
    """Yield each parameter as it is written."""
    plain = [*given.posonlyargs, *given.args]
    defaults = [None] * (len(plain) - len(given.defaults)) + list(given.defaults)
    for index, (one, default) in enumerate(zip(plain, defaults, strict=True), 1):
        yield _parameter(one, default)
        if index == len(given.posonlyargs):
            yield "/"
    if given.vararg:
        yield f"*{ast.unparse(given.vararg)}"
    elif given.kwonlyargs:
        yield "*"
    for one, default in zip(given.kwonlyargs, given.kw_defaults, strict=True):
        yield _parameter(one, default)
    if given.kwarg:
        yield f"**{ast.unparse(given.kwarg)}"


def _parameter(one: ast.arg, default: ast.expr | None) -> str:
    text = ast.unparse(one)
    if default is None:
        return text
    return (
        f"{text} = {ast.unparse(default)}" if one.annotation else f"{text}={ast.unparse(default)}"
    )


def _doc(node: ast.ClassDef | Function) -> Doc:
    return Doc.of(ast.get_docstring(node))


def _string(node: ast.stmt | None) -> str | None:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return str(node.value.value)
    return None


def _raises(part: str) -> Iterator[tuple[str, str]]:
    """Yield each error of a `Raises:` section with when it comes."""
    for found in re.finditer(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", part, re.MULTILINE):
        yield found[1], _line(found[2])


def _line(text: str) -> str:
    return " ".join(text.split())
