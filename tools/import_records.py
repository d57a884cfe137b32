"""Draft entries from collected records: `python tools/import_records.py FILE --out DIR`."""

import contextlib
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

sys.path[0] = str(Path(__file__).resolve().parents[1])

import typer

from implementations.harness.errors import BadInput, escape, unknown_name
from tools.adding.command import connect
from tools.catalog.documents.diagnostics import CatalogError
from tools.catalog.entries.files import WriteError
from tools.catalog.entries.loader import PAPERS, load_catalog
from tools.command_line import Contact, PapersFolder, fail, program
from tools.importing.importer import Importer, Outcome
from tools.importing.record_list import read_list
from tools.repository import REPOSITORY
from tools.sources.errors import SourceError


def import_records(
    file: Annotated[Path, typer.Argument(help="List of records in YAML")],
    out: Annotated[Path, typer.Option(help="Folder of the drafts, outside the catalog")],
    offline: Annotated[
        bool, typer.Option("--offline", help="Query no source; every fact stays unverified")
    ] = False,
    only: Annotated[
        list[str] | None, typer.Option(metavar="SLUG", help="Process only this record (repeatable)")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after this many drafts")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace existing drafts")] = False,
    contact: Contact = None,
    papers: PapersFolder = PAPERS,
) -> None:
    """Look up each record of a list and write a draft of its entry.

    Facts come from the sources; facts that only the list has are marked as unverified. A person
    writes the tagline, the summary and the taxonomy. Prints one line per record: accepted,
    rejected (with the reason) or skipped. Running the command again continues with the remaining
    records.
    """
    _check_folder(out, papers)
    try:
        items = read_list(file)
        catalog = load_catalog(papers)
    except BadInput as error:
        fail(f"{error}; give a list of records in YAML")
    except CatalogError as error:
        fail(f"{error}\nNothing was written. Fix this first.")
    names = [item.name for item in items]
    for slug in only or ():
        if slug not in names:
            fail(unknown_name(slug, names, f"record of {file}"))
    chosen = [item for item in items if not only or item.name in only]
    outcomes: list[Outcome] = []
    try:
        with contextlib.nullcontext() if offline else connect(contact) as client:
            try:
                out.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                fail(f"--out: {out} cannot be created: {error.strerror}; choose another folder")
            importer = Importer(items, catalog, out, client, force=force)
            for outcome in importer.run(chosen, limit):
                typer.echo(escape(_line(outcome)))
                outcomes.append(outcome)
    except (SourceError, WriteError) as error:
        fail(str(error))
    for text in _summary(outcomes, len(chosen), out):
        typer.echo(escape(text))
    statuses = {outcome.status for outcome in outcomes}
    raise typer.Exit("rejected" in statuses and "accepted" not in statuses)


def _check_folder(out: Path, papers: Path) -> None:
    """Exit if the output folder is part of the catalog or not a folder."""
    for catalog in (papers.resolve(), REPOSITORY / "catalog"):
        if out.resolve().is_relative_to(catalog):
            fail(f"--out: {out} is inside the catalog ({catalog}); choose a folder outside of it")
    if out.exists() and not out.is_dir():
        fail(f"--out: {out} is a file; choose a folder")


def _line(outcome: Outcome) -> str:
    """Return the line of one record: its place in the list, its status, and the reasons."""
    item = outcome.item
    place = f"{item.document.path}:{item.document.line(())}"
    return "; ".join([f"{place}: {outcome.status}: {item.name}", *outcome.details])


def _summary(outcomes: Sequence[Outcome], chosen: int, out: Path) -> Iterator[str]:
    """Yield the number of records per status and reason, and the next step."""
    counts = Counter[str](outcome.status for outcome in outcomes)
    numbers = ", ".join(f"{counts[name]} {name}" for name in ("accepted", "rejected", "skipped"))
    rest = f"; {chosen - len(outcomes)} remaining" if len(outcomes) < chosen else ""
    yield f"{len(outcomes)} records: {numbers}{rest}"
    reasons = Counter(outcome.reason for outcome in outcomes if outcome.status == "rejected")
    yield from (f"  rejected, {reason}: {number}" for reason, number in reasons.most_common())
    if counts["accepted"]:
        fields = "tagline, summary, taxonomy and sources.read"
        yield f"Next: fill in {fields} of a draft in {out}, then run"
        yield f"  python tools/add_paper.py --from-file {out}/SLUG.yaml"


app = program(import_records)

if __name__ == "__main__":
    app()
