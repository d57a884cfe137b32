"""The comments of an entry: which field each one is about."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from tools.catalog.reader import Loader, Loc

COMMENT = re.compile(r"#[^\r\n\x85\u2028\u2029]*")


@dataclass(frozen=True)
class Behind:
    """A comment at the end of a line, with the column it begins at."""

    text: str
    column: int


@dataclass
class Remarks:
    """Comments by the field that they stand before, behind (same line) or after."""

    header: list[str] = field(default_factory=list)
    before: dict[Loc, list[str]] = field(default_factory=lambda: defaultdict(list))
    behind: dict[Loc, list[Behind]] = field(default_factory=lambda: defaultdict(list))
    after: dict[Loc, list[str]] = field(default_factory=lambda: defaultdict(list))
    footer: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Node:
    """A key or an item of a list in the text."""

    start: int
    column: int
    loc: Loc


def remarks(text: str) -> Remarks:
    """Collect the comments of a text that reads without problems."""
    found = Remarks()
    text = text.removeprefix("\ufeff")  # a byte order mark would shift every position
    if text.count("#") == text.startswith("# yaml-language-server: "):
        return found  # as of nearly all entries, and fast
    root = yaml.compose(text, Loader=Loader)
    nodes = list(_nodes(root, ()))
    starts = [node.start for node in nodes]
    for position in _comments(text, _scalars(root)):
        comment = COMMENT.match(text, position)
        assert comment is not None
        written = comment[0].rstrip()
        following = bisect_left(starts, position)
        column = position - (text.rfind("\n", 0, position) + 1)
        own_line = not text[position - column : position].strip()
        if following == 0:
            found.header.append(written)
        elif not own_line:
            found.behind[nodes[following - 1].loc].append(Behind(written, column))
        elif following < len(nodes) and column <= nodes[following].column:
            found.before[nodes[following].loc].append(written)
        elif following == len(nodes) and column == 0:
            found.footer.append(written)
        else:
            found.after[nodes[following - 1].loc].append(written)
    return found


def _nodes(node: Any, loc: Loc) -> Iterator[_Node]:
    """Yield every key and every item of a list, in the order of the text."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inside = (*loc, key.value)
            yield _Node(key.start_mark.index, key.start_mark.column, inside)
            yield from _nodes(value, inside)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            inside = (*loc, index)
            # The dash stands two columns before the item in a list of one item a line.
            column = item.start_mark.column - (0 if node.flow_style else 2)
            yield _Node(item.start_mark.index, column, inside)
            yield from _nodes(item, inside)


def _scalars(node: Any) -> Iterator[Any]:
    if isinstance(node, yaml.ScalarNode):
        yield node
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _scalars(key)
            yield from _scalars(value)
    else:
        for item in node.value:
            yield from _scalars(item)


def _comments(text: str, scalars: Iterator[Any]) -> Iterator[int]:
    """Yield where comments begin: at each `#` that is inside no scalar."""
    end = 0
    for node in scalars:
        yield from _within(text, end, node.start_mark.index)
        end = node.end_mark.index
        if node.style in (">", "|"):
            # Behind the sign that opens a block of text there may be a comment too.
            opening = COMMENT.search(
                text, node.start_mark.index, text.find("\n", node.start_mark.index)
            )
            if opening:
                yield opening.start()
    yield from _within(text, end, len(text))


def _within(text: str, start: int, end: int) -> Iterator[int]:
    return (found.start() for found in COMMENT.finditer(text, start, end))
