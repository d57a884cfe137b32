"""Ask for every address in the catalog: `python tools/check_links.py`."""

import re
import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated

sys.path[0] = str(Path(__file__).resolve().parents[1])

import typer

from tools.catalog.documents.diagnostics import CatalogError
from tools.catalog.entries.loader import PAPERS, load_catalog
from tools.command_line import fail, program
from tools.links.checker import Limits, check
from tools.links.report import as_json, as_markdown, as_text, uses
from tools.links.status import State, Store
from tools.repository import REPOSITORY

CACHE = REPOSITORY / ".cache" / "links.jsonl"
AGES = 1e6
"""More hours or seconds than anybody wants; with the largest numbers no clock can reckon."""


def check_links(
    slugs: Annotated[
        list[str] | None, typer.Argument(help="Entries to check; all if none is named.")
    ] = None,
    as_data: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    markdown: Annotated[bool, typer.Option(help="Print Markdown, for an issue.")] = False,
    strict: Annotated[bool, typer.Option(help="Exit with 1 where a link is dead.")] = False,
    contact: Annotated[
        str, typer.Option(help="E-mail address to name to the servers, if you like.")
    ] = "",
    hours: Annotated[
        float, typer.Option(min=0, max=AGES, help="Results up to this old are kept.")
    ] = 24.0,
    cache: Annotated[Path, typer.Option(help="Where results are kept.")] = CACHE,
    pause: Annotated[
        float, typer.Option(min=0, max=AGES, help="Seconds between two requests to a host.")
    ] = 1.0,
    papers: Annotated[
        Path, typer.Option(help="Folder of the entries.", exists=True, file_okay=False)
    ] = PAPERS,
) -> None:
    """Say which links of the catalog are dead, moved, or could not be checked.

    A check that was stopped goes on where it was. A dead link is no error without --strict: pages
    come and go, and no contributor should wait for one.
    """
    try:
        catalog = load_catalog(papers)
        store = Store(cache, timedelta(hours=hours))
    except CatalogError as error:
        fail(f"{error}\nMend the entries first.")
    except OSError as error:
        fail(f"{cache} cannot be used: {error.strerror}; choose another --cache")
    if unknown := set(slugs or ()) - catalog.keys():
        raise typer.BadParameter(f"there is no entry '{min(unknown)}'")
    if contact and not re.fullmatch(r"[!-~]+@[!-~]+", contact):
        raise typer.BadParameter(f"'{contact}' is not an e-mail address; write name@example.org")
    where = uses({slug: paper for slug, paper in catalog.items() if not slugs or slug in slugs})
    try:
        asked = [url for url in where if url not in store.results]
        check(asked, store.add, contact, Limits(pause=pause))
    except OSError as error:
        fail(f"{cache} cannot be written: {error.strerror}")
    results = [store.results[url] for url in where]
    show = as_json if as_data else as_markdown if markdown else as_text
    typer.echo(show(results, where))
    if strict and any(result.state is State.DEAD for result in results):
        raise typer.Exit(1)


app = program(check_links)

if __name__ == "__main__":
    app()
