"""Add a paper to the catalog: `python tools/add_paper.py 2301.00774`.

On a terminal it asks for missing facts. Otherwise, or with `--yes`, all facts come from the sources
and the options. A dry run prints the entry to standard output; messages go to standard error.
"""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

sys.path[0] = str(Path(__file__).resolve().parents[1])

from tools.adding.add import BY_HAND, PaperAdder, slug_problem
from tools.adding.command import (
    facts_from_options,
    is_interactive,
    report_failures,
    with_fact_options,
)
from tools.adding.draft_input import READERS
from tools.catalog.entries.loader import PAPERS
from tools.command_line import Contact, DryRun, PapersFolder


def main(
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
            "--force", help="Accept a title similar to another one; with --slug, replace that entry"
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
    **facts: Any,
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
            given=facts_from_options(facts),
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


main.__signature__ = with_fact_options(main)  # type: ignore[attr-defined]
app = typer.Typer(add_completion=False, rich_markup_mode=None)
app.command()(main)

if __name__ == "__main__":
    app()
