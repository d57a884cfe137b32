"""Run the notebooks in `docs/tutorials` and store their outputs: `make tutorials`."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[1]
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.ipynb"))
# Commands find this checkout, and print neither progress nor colours.
VARIABLES = {
    "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tools" / "package")]),
    "COLUMNS": "86",
    "TTY_COMPATIBLE": "0",
    "TQDM_DISABLE": "1",
    "PYTHONWARNINGS": "ignore:IProgress not found",  # of tqdm, without ipywidgets
}


def read(path: Path) -> NotebookNode:
    """Read a notebook."""
    notebook: NotebookNode = nbformat.read(path, as_version=4)
    return notebook


def run(notebook: NotebookNode) -> None:
    """Run all cells in a temporary folder and replace their outputs.

    Raises `CellExecutionError` for a cell that fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook,
            timeout=1800,
            record_timing=False,
            coalesce_streams=True,
            resources={"metadata": {"path": folder}},
        )
        client.execute(env=os.environ | VARIABLES)
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if "text" in output:
                output.text = output.text.replace("\r\n", "\n")  # of commands
    notebook.metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
        "language_info": {"name": "python"},
        "sources_sha256": sources_sha256(notebook),
    }


def sources_sha256(notebook: NotebookNode) -> str:
    """Return the hash of all code, which tells whether stored outputs come from it."""
    sources = (cell.source for cell in notebook.cells if cell.cell_type == "code")
    return hashlib.sha256("\n\n".join(sources).encode()).hexdigest()


def main() -> None:
    """Run every notebook and write it back."""
    for path in TUTORIALS:
        notebook = read(path)
        run(notebook)
        nbformat.write(notebook, path)


if __name__ == "__main__":
    main()
