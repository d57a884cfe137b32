"""The API: data files, the contract of methods and every public name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import griffe

from tools.site import code
from tools.site.atlas import Atlas
from tools.site.code import HARNESS, Doc
from tools.site.data_files import FILES
from tools.site.render import Front, render

COMMANDS = HARNESS / "cli" / "commands.py"
FRONT = Front(
    "api.md",
    "API",
    "Data files, the contract of methods and every public name.",
    navigation=True,
    toc=True,
    styles=("css/learn.css", "css/api.css"),
    sources=(
        *(stub.as_posix() for stub in code.STUBS),
        COMMANDS.as_posix(),
        (HARNESS / "contract").as_posix(),
    ),
)


@dataclass(frozen=True)
class Clause:
    """One promise that the contract tests."""

    name: str
    doc: Doc
    covers: str
    """The methods that it applies to, as text."""


def pages(atlas: Atlas) -> Iterator[tuple[str, str]]:
    """Yield the page."""
    program = code.load(atlas.root)["harness.cli.commands"]
    found = clauses(atlas.root)
    text = render(
        "api",
        FRONT,
        atlas,
        modules=code.exported(atlas.root),
        command_line=Doc.of(program.docstring),
        files=FILES.items(),
        clauses={
            covers: [clause for clause in found if clause.covers == covers]
            for covers in dict.fromkeys(clause.covers for clause in found)
        },
    )
    yield FRONT.path, text


def clauses(root: Path) -> list[Clause]:
    """Read the functions of the contract that are decorated as clauses, file by file."""
    files = sorted(code.load(root)["harness.contract"].modules.items())
    return [
        Clause(function.name, Doc.of(function.docstring), given or _default(files))
        for _, file in files
        for function, given in code.decorated(file, "clause")
    ]


def _default(files: list[tuple[str, griffe.Module]]) -> str:
    """Return the default argument of the decorator: the methods that a clause applies to."""
    decorator = next(file.functions["clause"] for _, file in files if "clause" in file.functions)
    return str(ast.literal_eval(str(decorator.parameters[0].default)))
