"""Messages to the user: tables on a terminal, plain lines elsewhere, no control characters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tools.adding.draft import Draft
from tools.catalog.documents.yaml_reader import field_path

LONGEST = 200
"""Maximum number of characters shown of a value."""


class Report:
    """Prints messages, tables and lists to a console."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def say(self, text: str = "", style: str = "") -> None:
        """Print one paragraph."""
        self.console.print(
            visible(text), style=style, markup=False, highlight=False, soft_wrap=True
        )

    def table(
        self, title: str, head: Sequence[str], rows: Iterable[Sequence[str]], lines: Iterable[str]
    ) -> None:
        """Print `rows` as a table on a terminal, and the equivalent `lines` elsewhere."""
        if not self.console.is_terminal:
            self.notes(title, lines)
            return
        table = Table(*head, title=title, title_justify="left")
        for row in rows:
            table.add_row(*(Text(visible(cell)) for cell in row))
        self.console.print(table)

    def notes(self, title: str, lines: Iterable[str]) -> None:
        """Print a list with a title; print nothing if it is empty."""
        lines = list(lines)
        if lines:
            self.say(f"{title}:", style="bold")
            for line in lines:
                self.say(f"  - {line}")


def show_draft(report: Report, draft: Draft) -> None:
    """Print the known facts with their sources, and the abstract."""
    known = [loc for loc in draft.origin if loc not in draft.guessed]
    rows = [(field_path(loc), shorten(plain(draft.get(loc))), draft.origin[loc]) for loc in known]
    lines = (f"{field}: {value} ({origin})" for field, value, origin in rows)
    report.table("Facts", ("Field", "Value", "From"), rows, lines)
    if draft.abstract:
        report.say("Abstract (do not copy from it):", style="bold")
        report.say(f"  {draft.abstract}")


def plain(value: Any) -> str:
    """Format a value on one line."""
    if isinstance(value, dict):
        return ", ".join(f"{name}: {plain(one)}" for name, one in value.items())
    return ", ".join(map(plain, value)) if isinstance(value, list | tuple) else str(value)


def shorten(text: str) -> str:
    """Shorten a long text, such as a list of a thousand authors."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."


def visible(text: str) -> str:
    """Replace control characters, which a terminal would execute."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)
