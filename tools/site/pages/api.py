"""The API: what the harness exports and the commands, from the sources' own words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tools.site import code
from tools.site.atlas import Atlas
from tools.site.code import HARNESS, Doc, Name
from tools.site.render import Front, render

COMMANDS = HARNESS / "cli" / "commands.py"
FRONT = Front(
    "api/index.md",
    "API",
    "What the harness exports, the contract, the command line, the data.",
    styles=("css/learn.css", "css/api.css"),
    sources=((HARNESS / "__init__.pyi").as_posix(), COMMANDS.as_posix()),
    navigation=True,
)


def pages(atlas: Atlas) -> Iterator[tuple[str, str]]:
    """Yield the overview."""
    program = code.load(atlas.root)["harness.cli.commands"]
    commands = [
        Name(name, "command", f"atlas {name}", Doc.of(function.docstring))
        for function, said in code.decorated(program, "command")
        for name in (said or function.name.replace("_", "-"),)
    ]
    text = render(
        "api",
        FRONT,
        atlas,
        modules=code.exported(atlas.root),
        commands=commands,
        command_line=Doc.of(program.docstring),
        example=example(atlas.root / "README.md"),
    )
    yield FRONT.path, text


def example(readme: Path) -> str:
    """Return the README's piece of Python, empty where there is none."""
    text = readme.read_text(encoding="utf-8") if readme.exists() else ""
    found = re.search(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return found[1] if found else ""
