"""Add a paper to the catalog: `python tools/add_paper.py 2301.00774`.

On a terminal it asks for missing facts. Otherwise, or with `--yes`, all facts come from the sources
and the options. A dry run prints the entry to standard output; messages go to standard error.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

sys.path[0] = str(Path(__file__).resolve().parents[1])

from tools.adding.add import BY_HAND, PaperAdder, slug_problem
from tools.adding.command import (
    facts_from_options,
    is_interactive,
    option,
    report_failures,
)
from tools.adding.draft_input import READERS
from tools.catalog.entries.loader import PAPERS
from tools.command_line import Contact, DryRun, PapersFolder

Text = str | None
Texts = list[str] | None

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def main(
    context: typer.Context,
    paper: Annotated[
        str,
        typer.Argument(
            metavar="PAPER",
            help="Identifier (arXiv, DOI, OpenReview, ACL Anthology, ...), page address, title or "
            "file",
        ),
    ] = "",
    from_file: Annotated[
        Path | None,
        typer.Option(help="Read BibTeX (.bib), a filled-in issue form (.md) or an entry (.yaml)"),
    ] = None,
    manual: Annotated[
        bool, typer.Option("--manual", help="Query no source; works offline")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Ask no questions")] = False,
    dry_run: DryRun = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Replace an existing entry; accept a title similar to another one"
        ),
    ] = False,
    scaffold: Annotated[
        bool, typer.Option("--scaffold", help="Also create a method folder")
    ] = False,
    slug: Annotated[
        str, typer.Option(help="Name of the entry's file (default: derived from the paper)")
    ] = "",
    contact: Contact = None,
    catalog: PapersFolder = PAPERS,
    title: Annotated[Text, option("title")] = None,
    name: Annotated[Text, option("name")] = None,
    author: Annotated[Texts, option("author")] = None,
    kind: Annotated[Text, option("kind")] = None,
    role: Annotated[Text, option("role")] = None,
    summary: Annotated[Text, option("summary")] = None,
    venue: Annotated[Text, option("venue")] = None,
    year: Annotated[Text, option("year")] = None,
    track: Annotated[Text, option("track")] = None,
    status: Annotated[Text, option("status")] = None,
    volume: Annotated[Text, option("volume")] = None,
    number: Annotated[Text, option("number")] = None,
    pages: Annotated[Text, option("pages")] = None,
    submitted: Annotated[Text, option("submitted")] = None,
    published: Annotated[Text, option("published")] = None,
    arxiv: Annotated[Text, option("arxiv")] = None,
    doi: Annotated[Text, option("doi")] = None,
    openreview: Annotated[Text, option("openreview")] = None,
    anthology: Annotated[Text, option("anthology")] = None,
    pmlr: Annotated[Text, option("pmlr")] = None,
    ieee: Annotated[Text, option("ieee")] = None,
    venue_page: Annotated[Text, option("venue-page")] = None,
    paper_page: Annotated[Text, option("paper-page")] = None,
    code: Annotated[Text, option("code")] = None,
    license: Annotated[Text, option("license")] = None,
    code_note: Annotated[Text, option("code-note")] = None,
    granularity: Annotated[Texts, option("granularity")] = None,
    prunes: Annotated[Texts, option("prunes")] = None,
    criterion: Annotated[Texts, option("criterion")] = None,
    calibration: Annotated[Text, option("calibration")] = None,
    recovery: Annotated[Text, option("recovery")] = None,
    allocation: Annotated[Text, option("allocation")] = None,
    when: Annotated[Text, option("when")] = None,
    combines: Annotated[Texts, option("combines")] = None,
    architecture: Annotated[Texts, option("architecture")] = None,
    topic: Annotated[Texts, option("topic")] = None,
    model: Annotated[Texts, option("model")] = None,
    calibration_data: Annotated[Texts, option("calibration-data")] = None,
    training_data: Annotated[Texts, option("training-data")] = None,
    evaluation_data: Annotated[Texts, option("evaluation-data")] = None,
    claim: Annotated[Texts, option("claim")] = None,
    builds_on: Annotated[Texts, option("builds-on")] = None,
    extends: Annotated[Texts, option("extends")] = None,
    compares_with: Annotated[Texts, option("compares-with")] = None,
    fidelity: Annotated[Text, option("fidelity")] = None,
    note: Annotated[Text, option("note")] = None,
    read: Annotated[Text, option("read")] = None,
    source: Annotated[Texts, option("source")] = None,
) -> None:
    """Add a paper to the catalog.

    Looks the paper up, asks for missing facts and writes an entry if it passes the checks.
    """
    if paper and not from_file and "://" not in paper and Path(paper).suffix.lower() in READERS:
        paper, from_file = "", Path(paper)
    if bool(paper) + bool(from_file) + (manual and not paper and not from_file) != 1:
        raise typer.BadParameter("give one identifier, title or file, or use --manual")
    if slug and (problem := slug_problem(slug)):
        raise typer.BadParameter(problem, param_hint="--slug")
    with report_failures(BY_HAND):
        PaperAdder(
            paper=paper,
            given=facts_from_options(context.params),
            slug=slug,
            from_file=from_file,
            manual=manual,
            ask=is_interactive() and not yes,
            dry_run=dry_run,
            force=force,
            scaffold=scaffold,
            contact=contact,
            folder=catalog,
        ).run()


if __name__ == "__main__":
    app()
