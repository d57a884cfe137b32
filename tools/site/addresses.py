"""Paths and addresses of pages and files on the site."""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Iterable

from implementations.harness.results.boards import Board
from implementations.harness.results.record import DENSE, Record

MAX_NAME = 80
"""Longest name of a board in addresses, which are file names."""
LEADERBOARD = "leaderboard.html"
"""The page of the first board."""


def board_addresses(boards: Iterable[Board]) -> list[tuple[str, str]]:
    """Return the name of each board in addresses, and the path of its page."""
    taken: Counter[str] = Counter()
    addresses: list[tuple[str, str]] = []
    for board in boards:
        # Two versions of a protocol with the same name have one board each.
        name = f"{board.protocol}-{board.place}"[:MAX_NAME].rstrip("-")
        taken[name] += 1
        name += f"-{taken[name]}" * (taken[name] > 1)
        addresses.append((name, f"leaderboard/{name}.html" if addresses else LEADERBOARD))
    return addresses


def record_path(record: Record) -> str:
    """Return the path of a record's JSON file on the site."""
    return f"records/{record.protocol.name}/{record.method}/{record.name}-{record.key[:8]}.json"


def record_anchor(record: Record) -> str:
    """Return the anchor of a record on the page of its method."""
    text = f"{record.protocol.name}-{record.name}-{record.key[:8]}".lower()
    return re.sub(r"[^a-z0-9]+", "-", text)


def record_address(record: Record) -> str:
    """Return the address of a record: its row on the method's page, or the file of a dense run."""
    if record.method == DENSE:
        return record_path(record)
    return f"papers/{record.method}.html#{record_anchor(record)}"


def glossary_address(field: str, word: str) -> str:
    """Return the address of a word's definition in the glossary."""
    return f"learn/glossary.html#{field}-{word}"


def markdown_path(path: str) -> str:
    """Return the path of the Markdown file of an HTML page."""
    return path.removesuffix(".html") + ".md"


def html_path(path: str) -> str:
    """Return the path of the HTML page of a Markdown file."""
    return path.removesuffix(".md") + ".html"


def relative(path: str, page: str) -> str:
    """Return the address of a file relative to a page, both given by their paths on the site."""
    return posixpath.relpath(path, posixpath.dirname(page) or ".")
