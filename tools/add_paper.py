"""Add a paper to the catalog: `python tools/add_paper.py 2301.00774`.

The entry has everything that the sources state, and TODO where a person must judge.
`--refresh sparsegpt` shows what the sources of an entry state now.
"""

import difflib
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

sys.path[0] = str(Path(__file__).resolve().parents[1])

import typer

from implementations.harness.errors import escape
from tools.adding.entry import new_entry, refreshed
from tools.adding.slugs import propose_slugs
from tools.catalog.checks.duplicates import Known
from tools.catalog.documents.diagnostics import CatalogError
from tools.catalog.entries import abstracts
from tools.catalog.entries.files import WriteError, write_file
from tools.catalog.entries.loader import PAPERS, Catalog, read_catalog
from tools.catalog.entries.writer import canonical
from tools.catalog.schema.identifiers import SCHEMES, SLUG, Form
from tools.catalog.schema.paper import Ids, Paper
from tools.command_line import Contact, DryRun, PapersFolder, fail, program
from tools.repository import REPOSITORY, checkout
from tools.sources.client import Client
from tools.sources.errors import BadSetting, SourceError
from tools.sources.lookup.identification import identify
from tools.sources.lookup.queries import references
from tools.sources.names.references import Unidentified
from tools.sources.resolve import candidates, resolve
from tools.sources.services.facts import Resolved

BY_HAND = "or write the entry by hand, as in catalog/papers/sparsegpt.yaml"


def main(
    paper: Annotated[
        str,
        typer.Argument(
            metavar="PAPER",
            help="Identifier (arXiv, DOI, OpenReview, ACL Anthology, ...), page address or title",
        ),
    ] = "",
    refresh: Annotated[
        str, typer.Option(metavar="SLUG", help="Show how an entry differs from its sources now")
    ] = "",
    slug: Annotated[
        str, typer.Option(help="Name of the entry's file (default: derived from the title)")
    ] = "",
    force: Annotated[
        bool, typer.Option("--force", help="Accept a title similar to that of another entry")
    ] = False,
    dry_run: DryRun = False,
    contact: Contact = None,
    papers: PapersFolder = PAPERS,
) -> None:
    """Add a paper to the catalog, or compare an entry with its sources."""
    if bool(paper) == bool(refresh):
        raise typer.BadParameter("give a paper, or an entry with --refresh")
    if slug and not Form(SLUG, "a slug", "sparsegpt").fits(slug):
        raise typer.BadParameter("use lower-case letters and digits", param_hint="--slug")
    catalog = read_catalog(papers)
    try:
        with _connected(contact) as client:
            if refresh:
                show_changes(refresh, catalog, client)
            else:
                add(paper, slug, catalog, client, papers, force=force, dry_run=dry_run)
    except BadSetting as error:
        fail(str(error))
    except SourceError as error:
        fail(f"{error}, {BY_HAND}")
    except (Unidentified, WriteError, CatalogError) as error:
        fail(str(error))


def add(
    text: str,
    slug: str,
    catalog: Catalog,
    client: Client,
    papers: Path,
    *,
    force: bool,
    dry_run: bool,
) -> None:
    """Look a paper up and write its entry, or print it in a dry run."""
    reference = identify(text)
    if reference.scheme == "title":
        found = candidates(reference.value, client)
        _notes("Papers with a similar title", [_line(one) for one in found])
        fail(f"a title alone does not identify a paper; give its identifier, {BY_HAND}")
    if reference.scheme in SCHEMES:
        _refuse_known(catalog, "", {reference.scheme: reference.value}, force)
    resolved = resolve(reference, client)
    _show(resolved)
    data = new_entry(resolved, datetime.now(UTC).date().isoformat())
    _refuse_known(catalog, data.get("title", ""), data.get("ids", {}), force)
    year = data.get("year", "")
    proposed = propose_slugs(data["title"], data["authors"], int(year) if year else None)
    unused = (one for one in proposed if not (papers / f"{one}.yaml").exists())
    slug = slug or next(unused, "")
    if not slug:
        fail("the title suggests no unused name of the entry; give one with --slug")
    entry = canonical(data)
    if dry_run:
        typer.echo(entry, nl=False)
        return
    path = papers / f"{slug}.yaml"
    write_file(path, entry)
    abstracts.save(slug, resolved.facts.abstract or "", checkout(papers) / "catalog" / "abstracts")
    shown = path.relative_to(REPOSITORY) if path.is_relative_to(REPOSITORY) else path
    typer.echo(f"Written: {shown}. Replace each TODO, then run: python tools/check_catalog.py")


def show_changes(slug: str, catalog: Catalog, client: Client) -> None:
    """Print how an entry would change if it followed its sources; writes nothing."""
    if slug not in catalog.entries:
        close = difflib.get_close_matches(slug, catalog.entries, n=1)
        advice = f"did you mean {close[0]}?" if close else "or it is not valid; check the catalog"
        fail(f"the catalog has no valid entry {slug}; {advice}")
    entry = catalog.entries[slug]
    links = entry.paper.links
    reference = next(references(dict(entry.paper.ids), links.venue, links.paper), None)
    if reference is None:
        fail(f"{slug} has no identifier of a known source")
    resolved = resolve(reference, client)
    _show(resolved)
    old, new = (canonical(data) for data in (entry.document.data, refreshed(entry, resolved)))
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), slug, "sources", "", "", 1, "")
    typer.echo("\n".join(map(escape, lines)) or f"{slug}: the entry agrees with its sources")


def _refuse_known(catalog: Catalog, title: str, ids: dict[str, str], force: bool) -> None:
    """Exit if the catalog has a paper with this identifier or, unless forced, a similar title."""
    made: Any = {"title": title, "ids": Ids.model_construct(None, **ids)}
    for slug, reason in Known(catalog.papers).same_as(Paper.model_construct(**made)):
        if not (force and "title" in reason):
            fail(
                f"the catalog already has this paper as {slug} ({reason}); for changes run "
                f"tools/add_paper.py --refresh {slug}"
            )


def _show(resolved: Resolved) -> None:
    _notes("Sources disagree", resolved.disagreements)
    _notes("Notes", resolved.notes)


def _notes(title: str, lines: Any) -> None:
    for line in [f"{title}:", *(f"  - {line}" for line in lines)] if lines else ():
        typer.echo(escape(line), err=True)


def _line(candidate: Any) -> str:
    facts = candidate.facts
    about = ", ".join(map(str, filter(None, (*facts.authors[:1], facts.year))))
    return f"{candidate.reference.value}: {facts.title} ({about})"


def _connected(contact: str | None) -> Client:
    """Return the client of the sources, with git's e-mail address if none is given."""
    if contact:
        return Client(contact)
    try:
        git = ["git", "config", "user.email"]
        done = subprocess.run(git, capture_output=True, text=True, check=False)
        return Client(done.stdout.strip() or None)
    except (OSError, BadSetting):  # no git, or an invalid address
        return Client(None)


app = program(main)

if __name__ == "__main__":
    app()
