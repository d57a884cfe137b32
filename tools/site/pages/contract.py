"""The contract: what a method is, what it says of itself, and what is tested of each."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import griffe

from tools.site import code
from tools.site.atlas import Atlas
from tools.site.code import HARNESS, Doc
from tools.site.pages import api
from tools.site.render import Front, render

METHOD = HARNESS / "prune" / "method.py"
FRONT = Front(
    "api/contract.md",
    "Contract",
    "What a method is, and what is tested of each.",
    styles=api.FRONT.styles,
    sources=(METHOD.as_posix(), (HARNESS / "contract").as_posix()),
    toc=True,
    searched=False,  # the overview names what is here
    navigation=True,
)


@dataclass(frozen=True)
class Clause:
    """One promise that the contract tests."""

    name: str
    doc: Doc
    covers: str
    """The methods it is tested of, in the words beside it."""

    @property
    def words(self) -> str:
        """Its name, to read."""
        return self.name.replace("_", " ")


def pages(atlas: Atlas) -> Iterator[tuple[str, str]]:
    """Yield the page."""
    method, capabilities = code.module(METHOD, ["Method", "Capabilities"], atlas.root).names
    found = clauses(atlas.root)
    groups = {
        covers: [clause for clause in found if clause.covers == covers]
        for covers in dict.fromkeys(clause.covers for clause in found)
    }
    text = render(
        "contract", FRONT, atlas, method=method, capabilities=capabilities, groups=groups.items()
    )
    yield FRONT.path, text


def clauses(root: Path) -> list[Clause]:
    """Read the functions of the contract that are decorated as its clauses, file by file."""
    files = sorted(code.load(root)["harness.contract"].modules.items())
    return [
        Clause(function.name, Doc.of(function.docstring), said or _default(files))
        for _, file in files
        for function, said in code.decorated(file, "clause")
    ]


def _default(files: list[tuple[str, griffe.Module]]) -> str:
    """Return what a clause covers that does not say it: the default of the decorator."""
    decorator = next(file.functions["clause"] for _, file in files if "clause" in file.functions)
    return str(ast.literal_eval(str(decorator.parameters[0].default)))
