"""The checks of entries beyond the schema, without network access.

To add a check, write a function in `entry_checks`, `claim_checks` or `text_checks` (for one entry)
or in `cross_entry_checks` (for all entries) and add it to the list at the end of the module.
"""

from __future__ import annotations

from pathlib import Path

from tools.catalog.checks import claim_checks, cross_entry_checks, entry_checks, text_checks
from tools.catalog.checks.layout import layout_problems
from tools.catalog.documents.diagnostics import Problem
from tools.catalog.entries.loader import Catalog
from tools.repository import REPOSITORY

ENTRY_CHECKS = (*entry_checks.CHECKS, *claim_checks.CHECKS, *text_checks.CHECKS)


def check(catalog: Catalog, root: Path = REPOSITORY) -> list[Problem]:
    """Return the problems of single entries, between entries, and of the layout.

    `root` is the checkout that contains the method folders, the abstract fingerprints and the
    declined papers.
    """
    problems = [problem for document in catalog.documents for problem in layout_problems(document)]
    for entry in catalog.entries.values():
        for check_entry in ENTRY_CHECKS:
            problems += check_entry(entry)
    for check_all in cross_entry_checks.CHECKS:
        problems += check_all(catalog)
    problems += cross_entry_checks.method_folders(catalog, root / "implementations")
    problems += cross_entry_checks.declined_papers(catalog, root)
    for check_texts in (text_checks.copied_abstracts, text_checks.orphaned_fingerprints):
        problems += check_texts(catalog, root / "catalog" / "abstracts")
    return sorted(problems)
