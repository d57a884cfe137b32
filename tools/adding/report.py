"""What the user is told: tables on a terminal, plain lines elsewhere, never control characters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tools.adding.draft import Draft
from tools.adding.fields import FIELDS
from tools.adding.proposals import Proposal
from tools.catalog.documents.yaml_reader import spell

LONGEST = 200
"""Characters of a value that are shown."""


class Report:
    """Tells the user what was found; entries themselves go to standard output."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def say(self, text: str = "", style: str = "") -> None:
        """Write one paragraph."""
        self.console.print(
            visible(text), style=style, markup=False, highlight=False, soft_wrap=True
        )

    def table(
        self, title: str, head: Sequence[str], rows: Iterable[Sequence[str]], lines: Iterable[str]
    ) -> None:
        """Write rows as a table on a terminal, and as the lines that say the same elsewhere."""
        if not self.console.is_terminal:
            self.notes(title, lines)
            return
        table = Table(*head, title=title, title_justify="left")
        for row in rows:
            table.add_row(*(Text(visible(cell)) for cell in row))
        self.console.print(table)

    def notes(self, title: str, lines: Iterable[str]) -> None:
        """Write a list, or nothing where it is empty."""
        lines = list(lines)
        if lines:
            self.say(f"{title}:", style="bold")
            for line in lines:
                self.say(f"  - {line}")


def show_draft(report: Report, draft: Draft, proposals: Sequence[Proposal]) -> None:
    """Show what is known and from where, and what was guessed from which words."""
    known = [loc for loc in draft.origin if loc not in draft.guessed]
    rows = [(spell(loc), shorten(plain(draft.get(loc))), draft.origin[loc]) for loc in known]
    lines = (f"{field}: {value} ({origin})" for field, value, origin in rows)
    report.table("Facts", ("Field", "Value", "From"), rows, lines)
    report.notes("Proposed from these words", (_proposed(draft, each) for each in proposals))
    if draft.abstract:
        report.say("Abstract, to read and not to copy:", style="bold")
        report.say(f"  {draft.abstract}")


def _proposed(draft: Draft, proposal: Proposal) -> str:
    field = FIELDS[proposal.flag]
    taken = "" if field.loc in draft.guessed else f"; not taken, {field.option} would say so"
    return f"{proposal.flag}: {proposal}{taken}"


def plain(value: Any) -> str:
    """Write a value on one line, for people."""
    if isinstance(value, dict):
        return ", ".join(f"{name}: {plain(one)}" for name, one in value.items())
    return ", ".join(map(plain, value)) if isinstance(value, list | tuple) else str(value)


def shorten(text: str) -> str:
    """Cut a long text, such as a list of a thousand authors, for showing."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."


def visible(text: str) -> str:
    """Replace what a terminal would obey rather than show."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)
