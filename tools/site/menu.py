"""The menu of the site, made from what the pages say of themselves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tools.site.render import Front

Group = list[dict[str, Any]]


@dataclass(frozen=True)
class Item:
    """An entry of the menu, seen from a page."""

    label: str
    path: str
    """Of the page, or of the first one of a group."""
    current: str
    """`page` for the page itself, `true` for what it stands in, as `aria-current` has it."""


def menu(fronts: Iterable[Front]) -> Group:
    """Return pages in their order, a group where its first page stands; `nav` has this form."""
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


def items(group: Group, path: str, above: str = "") -> list[Item]:
    """List a group as the page at `path` shows it, which may stand below the one at `above`."""
    return [_item(label, list(_paths(below)), path, above) for label, below in _entries(group)]


def beside(group: Group, path: str) -> list[tuple[str, list[Item]]]:
    """List the groups that a page stands in, the outermost first, by name."""
    for name, below in _entries(group):
        if isinstance(below, list) and path in _paths(below):
            return [(name, items(below, path)), *beside(below, path)]
    return []


def _item(label: str, paths: list[str], path: str, above: str) -> Item:
    if paths == [path]:
        return Item(label, path, "page")
    return Item(label, paths[0], "true" if path in paths or above in paths else "")


def _entries(group: Group) -> Iterator[tuple[str, Any]]:
    for entry in group:
        yield from entry.items()


def _paths(below: str | Group) -> Iterator[str]:
    """Yield the paths of the pages of an entry."""
    if isinstance(below, str):
        yield below
    else:
        for _, deeper in _entries(below):
            yield from _paths(deeper)
