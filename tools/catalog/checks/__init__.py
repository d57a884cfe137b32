"""Everything an entry is checked for beyond the schema, without a network.

A new check is a function in `entry_checks` (one entry by itself) or in `cross_entry_checks` (all of
them together), and its name in the list at the end of that module.
"""

from __future__ import annotations

from pathlib import Path

from tools.catalog.checks import cross_entry_checks, entry_checks
from tools.catalog.checks.layout import layout_problems
from tools.catalog.documents.diagnostics import Problem
from tools.catalog.entries.loader import Catalog
from tools.repository import IMPLEMENTATIONS


def check(catalog: Catalog, implementations: Path = IMPLEMENTATIONS) -> list[Problem]:
    """Return the problems of entries by themselves, with one another, and of their layout."""
    found = [problem for document in catalog.documents for problem in layout_problems(document)]
    for entry in catalog.entries.values():
        for check_entry in entry_checks.CHECKS:
            found += check_entry(entry)
    for check_all in cross_entry_checks.CHECKS:
        found += check_all(catalog)
    return sorted([*found, *cross_entry_checks.folders(catalog, implementations)])
