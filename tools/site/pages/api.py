"""The API: what the harness exports and the contract of a method, from the sources' own words."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tools.site import code
from tools.site.atlas import Atlas
from tools.site.code import HARNESS, Doc, Module, Name
from tools.site.render import Front, render

CLAUSES, CASES, COMMANDS = (
    HARNESS / f"{name}.py" for name in ("contract/clauses", "contract/cases", "cli/commands")
)
STYLES = ("css/learn.css", "css/api.css")
# Conditions of `conformance.cases` in words; any other is shown as it stands there.
COVERS = {
    "": "every method",
    "method.capabilities.calibration != 'none'": "methods that read calibration text",
    "method.capabilities.structured": "methods that remove whole units",
    "clauses.takes_patterns(method)": "methods that know N:M patterns",
    "family in method.capabilities.refuses": "families that a method refuses",
}


@dataclass(frozen=True)
class Clause:
    """One promise that the contract tests."""

    name: str
    doc: Doc
    covers: str

    @property
    def words(self) -> str:
        """Its name, to read."""
        return self.name.replace("_", " ")


def pages(atlas: Atlas) -> Iterator[tuple[str, str]]:
    """Yield the overview, the harness and the contract."""
    modules = code.exported(atlas.root)
    commands = [
        Name(mark, "command", f"atlas {mark}", Doc.of(ast.get_docstring(node)))
        for node in code.functions(COMMANDS, atlas.root)
        for mark in _command(node)
    ]
    yield (
        "api/index.md",
        render(
            "api",
            _front("API", "What the harness exports, the contract, the command line, the data."),
            atlas,
            modules=modules,
            commands=commands,
            command_line=code.module(COMMANDS, [], atlas.root).doc,
            example=example(atlas.root / "README.md"),
        ),
    )
    sources = tuple(module.path for module in modules)
    front = _front("Harness", "Every name the harness exports.", sources, toc=True)
    yield "api/harness.md", render("harness", front, atlas, modules=modules)
    front = _front(
        "Contract",
        "What a method is, and what is tested of each.",
        tuple(path.as_posix() for path in (HARNESS / "prune" / "method.py", CLAUSES, CASES)),
        toc=True,
    )
    yield "api/contract.md", render("contract", front, atlas, **_contract(modules, atlas.root))


def clauses(root: Path) -> list[Clause]:
    """Read the clauses of the contract in the order they run, each with what it covers."""
    covers = dict(_covered(root))
    documented = {node.name: node for node in code.functions(CLAUSES, root)}
    return [
        Clause(name, Doc.of(ast.get_docstring(documented[name])), COVERS.get(when, when))
        for name, when in covers.items()
    ]


def example(readme: Path) -> str:
    """Return the README's piece of Python, empty where there is none."""
    text = readme.read_text(encoding="utf-8") if readme.exists() else ""
    found = re.search(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return found[1] if found else ""


def _front(title: str, about: str, sources: tuple[str, ...] = (), toc: bool = False) -> Front:
    sources = sources or ((HARNESS / "__init__.pyi").as_posix(), COMMANDS.as_posix())
    # The overview has every name; the other two would only fill the index of the search.
    return Front(title, about, styles=STYLES, sources=sources, toc=toc, searched=not toc)


def _contract(modules: list[Module], root: Path) -> dict[str, object]:
    named = {name.name: name for module in modules for name in module.names}
    found = clauses(root)
    return {
        "method": named["Method"],
        "capabilities": named["Capabilities"],
        "groups": [
            (covers, [clause for clause in found if clause.covers == covers])
            for covers in dict.fromkeys(clause.covers for clause in found)
        ],
    }


def _covered(root: Path) -> Iterator[tuple[str, str]]:
    """Yield the name of each clause with the condition under which it is a case."""
    tree = ast.parse((root / CASES).read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "GENERAL":
            yield from ((name, "") for name in _clauses_in(node))
        if isinstance(node, ast.FunctionDef) and node.name == "cases":
            for inner in ast.walk(node):
                if isinstance(inner, ast.If):
                    when = ast.unparse(inner.test)
                    yield from ((name, when) for part in inner.body for name in _clauses_in(part))
            always = [part for part in node.body if isinstance(part, ast.Expr)]
            yield from ((name, "") for part in always for name in _clauses_in(part))


def _clauses_in(node: ast.AST) -> Iterator[str]:
    for part in ast.walk(node):
        if isinstance(part, ast.Attribute) and ast.unparse(part.value) == "clauses":
            yield part.attr


def _command(node: code.Function) -> Iterator[str]:
    """Yield the name under which a function is a command."""
    for mark in node.decorator_list:
        if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "app.command":
            named = [ast.literal_eval(one) for one in mark.args]
            yield named[0] if named else node.name
