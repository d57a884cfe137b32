"""Add a paper to the catalog: `python tools/add_paper.py 2301.00774`.

Asks on a terminal; elsewhere, or with `--yes`, everything comes from the sources and from flags.
The entry of a dry run goes to standard output, everything else to standard error.
"""

import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

sys.path[0] = str(Path(__file__).resolve().parents[1])

from tools.adding.add import BY_HAND, Adding, Request, no_slug
from tools.adding.command import (
    connect,
    failures_end_it,
    given,
    option,
    somebody_is_there,
)
from tools.adding.files import READERS
from tools.adding.report import Report
from tools.catalog.entries.loader import PAPERS

Word = str | None
Words = list[str] | None

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def main(
    context: typer.Context,
    what: Annotated[
        str,
        typer.Argument(
            metavar="PAPER",
            help="Identifier (arXiv, DOI, OpenReview, Anthology ...), page, title, or file.",
        ),
    ] = "",
    from_file: Annotated[
        Path | None,
        typer.Option(help="BibTeX (.bib), a filled issue form (.md), or an entry (.yaml)."),
    ] = None,
    manual: Annotated[
        bool, typer.Option("--manual", help="Ask no source; needs no network.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write nothing; show the entry.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Replace an entry of the same slug; accept a title like another's."
        ),
    ] = False,
    scaffold: Annotated[
        bool, typer.Option("--scaffold", help="Make a method folder as well.")
    ] = False,
    slug: Annotated[str, typer.Option(help="Name of the entry's file; proposed if left out.")] = "",
    contact: Annotated[
        str | None, typer.Option(help="E-mail address for the sources; git's if left out.")
    ] = None,
    catalog: Annotated[
        Path, typer.Option(exists=True, file_okay=False, help="Folder of the entries.")
    ] = PAPERS,
    title: Annotated[Word, option("title")] = None,
    name: Annotated[Word, option("name")] = None,
    author: Annotated[Words, option("author")] = None,
    kind: Annotated[Word, option("kind")] = None,
    role: Annotated[Word, option("role")] = None,
    summary: Annotated[Word, option("summary")] = None,
    venue: Annotated[Word, option("venue")] = None,
    year: Annotated[Word, option("year")] = None,
    track: Annotated[Word, option("track")] = None,
    status: Annotated[Word, option("status")] = None,
    volume: Annotated[Word, option("volume")] = None,
    number: Annotated[Word, option("number")] = None,
    pages: Annotated[Word, option("pages")] = None,
    submitted: Annotated[Word, option("submitted")] = None,
    published: Annotated[Word, option("published")] = None,
    arxiv: Annotated[Word, option("arxiv")] = None,
    doi: Annotated[Word, option("doi")] = None,
    openreview: Annotated[Word, option("openreview")] = None,
    anthology: Annotated[Word, option("anthology")] = None,
    pmlr: Annotated[Word, option("pmlr")] = None,
    ieee: Annotated[Word, option("ieee")] = None,
    venue_page: Annotated[Word, option("venue-page")] = None,
    paper_page: Annotated[Word, option("paper-page")] = None,
    code: Annotated[Word, option("code")] = None,
    license: Annotated[Word, option("license")] = None,
    code_note: Annotated[Word, option("code-note")] = None,
    granularity: Annotated[Words, option("granularity")] = None,
    prunes: Annotated[Words, option("prunes")] = None,
    criterion: Annotated[Words, option("criterion")] = None,
    calibration: Annotated[Word, option("calibration")] = None,
    recovery: Annotated[Word, option("recovery")] = None,
    allocation: Annotated[Word, option("allocation")] = None,
    when: Annotated[Word, option("when")] = None,
    combines: Annotated[Words, option("combines")] = None,
    architecture: Annotated[Words, option("architecture")] = None,
    topic: Annotated[Words, option("topic")] = None,
    model: Annotated[Words, option("model")] = None,
    calibration_data: Annotated[Words, option("calibration-data")] = None,
    training_data: Annotated[Words, option("training-data")] = None,
    evaluation_data: Annotated[Words, option("evaluation-data")] = None,
    claim: Annotated[Words, option("claim")] = None,
    builds_on: Annotated[Words, option("builds-on")] = None,
    extends: Annotated[Words, option("extends")] = None,
    compares_with: Annotated[Words, option("compares-with")] = None,
    fidelity: Annotated[Word, option("fidelity")] = None,
    note: Annotated[Word, option("note")] = None,
    read: Annotated[Word, option("read")] = None,
    source: Annotated[Words, option("source")] = None,
) -> None:
    """Add a paper to the catalog: look it up, ask what is missing, write a valid entry or none."""
    if what and not from_file and "://" not in what and Path(what).suffix.lower() in READERS:
        what, from_file = "", Path(what)
    if bool(what) + bool(from_file) + (manual and not what and not from_file) != 1:
        raise typer.BadParameter("give one identifier, title or file, or else --manual")
    if slug and (wrong := no_slug(slug)):
        raise typer.BadParameter(wrong, param_hint="--slug")
    request = Request(
        what=what,
        given=given(context.params),
        slug=slug,
        from_file=from_file,
        manual=manual,
        ask=somebody_is_there() and not yes,
        dry_run=dry_run,
        force=force,
        scaffold=scaffold,
        catalog=catalog,
    )
    report = Report(Console(stderr=True))
    with failures_end_it(report, BY_HAND):
        Adding(request, report, partial(connect, contact)).run()


if __name__ == "__main__":
    app()
