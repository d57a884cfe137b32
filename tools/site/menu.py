"""The menu of the site, made from what the pages say of themselves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tools.site.render import Front

Group = list[dict[str, Any]]


def menu(fronts: Iterable[Front]) -> Group:
    """Return the `nav` of mkdocs: pages in their order, a group where its first page stands."""
    top: Group = []
    for front in fronts:
        *names, label = front.menu.split(" / ")
        group = top
        for name in names:
            group = _group(group, name)
        group.append({label: front.path})
    return top


def _group(above: Group, name: str) -> Group:
    """Return a group of this name, adding it where it is missing."""
    for entry in above:
        if isinstance(found := entry.get(name), list):
            return found
    above.append({name: []})
    return above[-1][name]  # type: ignore[no-any-return]
