"""Groups of licences by what they permit."""

from __future__ import annotations

import re

from tools.catalog.schema.paper import Code
from tools.catalog.schema.vocabulary import Term

GROUPS = (
    Term("permissive", "permissive", "For any use; such as MIT, Apache-2.0 or BSD."),
    Term("copyleft", "copyleft", "For any use; work derived from it needs the same licence."),
    Term(
        "custom", "non-commercial or custom", "Limits the use, is not on the SPDX list or unclear."
    ),
    Term("none", "none stated", "Without a licence, nobody but the authors may use the code."),
)
"""The groups, the most permissive first."""
PERMISSIVE = re.compile(
    r"MIT(-0)?|Apache-[\d.]+|BSD-[\w-]+|0BSD|ISC|Zlib|Unlicense|CC0-1\.0|CC-BY-[\d.]+|BSL-1\.0"
)
COPYLEFT = re.compile(r"[AL]?GPL-[\w.-]+|MPL-[\w.-]+|EPL-[\d.]+|EUPL-[\d.]+|CC-BY-SA-[\d.]+")
"""Names of the SPDX list; all others belong to `custom`."""


def licence_group(code: Code) -> str | None:
    """Return the group of the licence of a repository, or None if the entry has no licence.

    Of `A OR B` the more permissive licence counts, of `A AND B` the less permissive one.
    """
    if code.license is None:
        return None
    words = [group.word for group in GROUPS]
    choices = [
        max(words.index(_group(name.split()[0])) for name in choice.split(" AND "))
        for choice in code.license.split(" OR ")
    ]
    return words[min(choices)]


def _group(name: str) -> str:
    if name == "NONE":
        return "none"
    if PERMISSIVE.fullmatch(name):
        return "permissive"
    return "copyleft" if COPYLEFT.fullmatch(name) else "custom"
