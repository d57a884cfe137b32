"""Jupyter notebooks as Markdown, with the outputs that they store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

WRITE_FILE = "%%writefile "
SVG = "image/svg+xml"
LANGUAGES = {".py": "python", ".yaml": "yaml"}
"""Language of a file that a cell writes, by its ending."""


def images(notebook: Mapping[str, Any], name: str) -> dict[str, str]:
    """Return the SVG images of the notebook's outputs by file name: `<name>-1.svg`, ..."""
    svgs = (
        text(output["data"][SVG])
        for cell in notebook["cells"]
        for output in cell.get("outputs", ())
        if SVG in output.get("data", {})
    )
    return {f"{name}-{number}.svg": svg for number, svg in enumerate(svgs, 1)}


def to_markdown(notebook: Mapping[str, Any], name: str) -> str:
    """Return text, code and outputs; images refer to the file names of `images`.

    A cell with an image has its alternative text in its metadata, as `alt`.
    """
    files = iter(images(notebook, name))
    return "\n\n".join(part for cell in notebook["cells"] for part in _parts(cell, files)) + "\n"


def text(lines: str | list[str]) -> str:
    """Return the text of a field that may be stored as a list of lines."""
    return "".join(lines)


def _parts(cell: Mapping[str, Any], files: Iterator[str]) -> Iterator[str]:
    source = text(cell["source"])
    if cell["cell_type"] == "markdown":
        yield source
        return
    yield _code(source)
    if source.startswith(WRITE_FILE):
        return  # its output only repeats the name of the file
    for output in cell["outputs"]:
        data = output.get("data", {})
        if SVG in data:
            yield f"![{cell['metadata']['alt']}]({next(files)}){{ .atlas-plot }}"
        elif "text/markdown" in data:
            yield text(data["text/markdown"])
        else:
            plain = text(data["text/plain"] if data else output["text"])
            yield f"```{{ .text .atlas-output }}\n{plain.rstrip()}\n```"


def _code(source: str) -> str:
    """Return a code block; the name of a file that the cell writes becomes its title."""
    if source.startswith(WRITE_FILE):
        head, _, source = source.partition("\n")
        file = head.removeprefix(WRITE_FILE)
        return f'```{LANGUAGES[Path(file).suffix]} title="{file}"\n{source}\n```'
    if source.startswith("!"):
        return f"```bash\n{source[1:]}\n```"
    return f"```python\n{source}\n```"
