"""Everything an entry is checked for beyond the schema, without a network.

A new check is a function in `entry_checks`, `claim_checks` or `text_checks` (one entry by itself)
or in `cross_entry_checks` (all of them together), and its name in the list at the module's end.
"""

from __future__ import annotations

from pathlib import Path

from tools.catalog.checks import claim_checks, cross_entry_checks, entry_checks, text_checks
from tools.catalog.checks.layout import layout_problems
from tools.catalog.documents.diagnostics import Problem
from tools.catalog.entries.loader import Catalog
from tools.repository import REPOSITORY

OF_ONE = (*entry_checks.CHECKS, *claim_checks.CHECKS, *text_checks.CHECKS)


def check(catalog: Catalog, root: Path = REPOSITORY) -> list[Problem]:
    """Return the problems of entries by themselves, with one another, and of their layout.

    `root` is the checkout with the folders of methods and the abstracts.
    """
    found = [problem for document in catalog.documents for problem in layout_problems(document)]
    for entry in catalog.entries.values():
        for check_entry in OF_ONE:
            found += check_entry(entry)
    for check_all in cross_entry_checks.CHECKS:
        found += check_all(catalog)
    found += cross_entry_checks.folders(catalog, root / "implementations")
    for check_texts in (text_checks.copies, text_checks.orphans):
        found += check_texts(catalog, root / "catalog" / "abstracts")
    return sorted(found)
