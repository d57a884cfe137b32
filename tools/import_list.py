"""Compare an Awesome list with the catalog: `python tools/import_list.py FILE.md`."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

sys.path[0] = str(Path(__file__).resolve().parents[1])

import typer

from implementations.harness.errors import BadInput
from implementations.harness.results.reading import read_text
from tools.catalog.documents.diagnostics import CatalogError
from tools.catalog.entries.declined import load_declined
from tools.catalog.entries.loader import PAPERS, load_catalog
from tools.command_line import PapersFolder, fail, program
from tools.lists.comparison import Comparison, Finding, compare
from tools.lists.parser import read_list

MAX_BYTES = 5_000_000
"""Maximum size of a list in bytes; the longest known lists have half a megabyte."""

HEADINGS = {
    "contradicts": "in the catalog, but the line differs",
    "known": "in the catalog",
    "declined": "declined",
    "new": "not in the catalog",
}


def import_list(
    file: Annotated[Path, typer.Argument(help="List in Markdown")],
    papers: PapersFolder = PAPERS,
) -> None:
    """Compare an Awesome list with the catalog.

    Lists the papers that are in the catalog, those that contradict it, those that were declined
    and those that are new, each with the command that adds it. Nothing is written.
    """
    try:
        items = read_list(read_text(file, MAX_BYTES))
        compared = compare(items, load_catalog(papers), load_declined(papers))
    except BadInput as error:
        fail(str(error))
    except CatalogError as error:
        fail(f"{error}\nFix the entries first.")
    if not items:
        fail(f"{file} has no line that names a paper; give a Markdown list with one paper per line")
    typer.echo("\n".join(as_text(compared)))


def as_text(compared: Sequence[Comparison]) -> Iterator[str]:
    """Yield the lines of a report, contradictions first."""
    for status, heading in HEADINGS.items():
        lines = [one for one in compared if one.status == status]
        yield f"{len(lines)} {heading}{':' if lines else '.'}"
        for one in lines:
            yield from _lines(one)
        yield ""


def _lines(one: Comparison) -> Iterator[str]:
    yield f"  line {one.item.line}: {f'{one.slug}: ' if one.slug else ''}{one.item.title[:100]}"
    yield from (f"    {_sentence(finding)}" for finding in one.findings)
    if one.declined:
        yield f"    {one.declined}"
    if one.command:
        yield f"    {one.command}"


def _sentence(finding: Finding) -> str:
    listed = f" '{finding.listed[:100]}'" if finding.listed else ""
    has = f"; the catalog has '{finding.catalog}'" if finding.catalog else ""
    return f"{finding.level}: {finding.field}{listed}: {finding.message}{has}"


app = program(import_list)

if __name__ == "__main__":
    app()
