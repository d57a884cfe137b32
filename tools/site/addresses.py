"""Paths and addresses of pages and files on the site."""

from __future__ import annotations

import posixpath
import re

from implementations.harness.results.record import DENSE, Record


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
