"""A YAML reader that returns every scalar as text and records the line of every field.

Dates, `no`, `0123`, `1:30` and `2301.10` stay as they are written; the schema converts them.
Aliases, duplicate keys and empty values are rejected; tags and anchors are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from implementations.harness.results.reading import DEEPEST, read_bytes
from tools.catalog.documents.diagnostics import CatalogError, Problem

Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

MAX_BYTES = 100_000
"""Maximum size of a file in bytes; an entry has a few thousand."""
NULL = "tag:yaml.org,2002:null"
EDITOR_LINE = "# yaml-language-server: "
"""Start of the comment that tells editors which schema to use."""

Loc = tuple[str | int, ...]


@dataclass
class Document:
    """A file as nested dicts, lists and texts, with the line of every field."""

    path: Path
    text: str = ""
    data: dict[str, Any] = field(default_factory=dict)
    lines: dict[Loc, int] = field(default_factory=dict)
    comments: dict[int, str] = field(default_factory=dict)
    """Comments by line, except those for editors; empty if the file has problems."""
    problems: list[Problem] = field(default_factory=list)

    def line(self, loc: Loc) -> int:
        """Return the line of a field, or of the closest field that contains it."""
        return self.lines.get(loc) or (self.line(loc[:-1]) if loc else 1)

    def problem(self, loc: Loc, message: str, advice: str = "", **more: Any) -> Problem:
        """Return a problem of one field."""
        return Problem(self.path, self.line(loc), field_path(loc), message, advice, **more)


def field_path(loc: Loc) -> str:
    """Format the path of a field: `('claims', 0, 'value')` becomes `claims[0].value`."""
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in loc)
    return "".join(steps).removeprefix(".")


def read(path: Path, name: Path | None = None) -> Document:
    """Read one file; errors become problems of the document.

    `name` replaces `path` in the problems.
    """
    document = Document(name or path)
    try:
        content = read_bytes(path, MAX_BYTES)
    except OSError as error:
        document.problems.append(document.problem((), f"cannot be read: {error.strerror}"))
        return document
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        document.problems.append(
            Problem(document.path, line, "", "is not UTF-8 text", "save it as UTF-8")
        )
        return document
    return parse(text, document.path)


def parse(text: str, path: Path) -> Document:
    """Parse the text of one file; `path` is its name in the problems."""
    document = Document(path, text)
    data = _build(document)
    if isinstance(data, dict) and (data or document.problems):
        document.data = data
        document.comments = {} if document.problems else dict(_comments(text))
    elif not document.problems:
        message = "is empty" if data in (None, {}) else "is not a mapping of fields"
        document.problems.append(Problem(path, 1, "", message, "begin with `title: ...`"))
    return document


def parse_list(text: str, path: Path) -> list[Document]:
    """Parse a list; each item becomes a document with its lines and problems.

    Comments are ignored. Raises `CatalogError` if the file is not a list.
    """
    whole = Document(path, text)
    items = _build(whole)
    if not isinstance(items, list) or not items:
        wrong = "is empty" if items in (None, []) else "is not a list"
        advice = "begin each item with a dash: `- slug: ...`"
        raise CatalogError(whole.problems or [Problem(path, 1, "", wrong, advice)])
    documents = [Document(path, data=item) for item in items]
    for loc, line in whole.lines.items():
        if loc:
            documents[int(loc[0])].lines[loc[1:]] = line
    for problem in whole.problems:
        index, _, field = problem.field.removeprefix("[").partition("]")
        if not index:
            raise CatalogError(whole.problems)
        mine = replace(problem, field=field.removeprefix("."))
        documents[int(index)].problems.append(mine)
    return documents


def _build(document: Document) -> Any:
    """Build the value of a document's text and record its problems."""
    path, text = document.path, document.text
    try:
        # Composing returns nodes, so tags in the file cannot run code.
        node = yaml.compose(text, Loader=Loader)
        return node and _Builder(document).value(node, (), node)
    except RecursionError:
        document.problems.append(Problem(path, 1, "", "is nested too deeply", "use fewer brackets"))
        return None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        lines = text.splitlines()
        line = min(mark.line + 1, len(lines)) if mark else 1  # the mark may be after the last line
        reason = " ".join(filter(None, (error.context, error.problem)))
        if isinstance(error, yaml.composer.ComposerError):
            advice = "write one document, without anchors and aliases"
        elif "".join(lines[line - 1 : line]).lstrip(" ").startswith("\t"):
            advice = "indent with spaces instead of tabs"
        else:
            advice = "quote texts that contain : or #"
        document.problems.append(Problem(path, line, "", f"is not valid YAML: {reason}", advice))
        return None
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        message = "contains a control character, which YAML forbids"
        document.problems.append(Problem(path, line, "", message, "remove it"))
        return None


def _comments(text: str) -> Iterator[tuple[int, str]]:
    """Yield the line and text of each comment, which begins with a `#` outside of scalars."""
    text = text.removeprefix("\ufeff")  # a byte order mark would shift every position
    if text.count("#") == text.startswith(EDITOR_LINE):
        return  # no comments, as in nearly all files
    bare = ""  # the text with scalars replaced by spaces
    events = yaml.parse(text, Loader=Loader)
    scalars: Iterator[Any] = filter(lambda event: isinstance(event, yaml.ScalarEvent), events)
    for scalar in scalars:
        start, end = scalar.start_mark.index, scalar.end_mark.index
        if scalar.style in (">", "|"):  # a comment may follow the indicator of a block scalar
            start = text.find("\n", start)
        bare += text[len(bare) : start] + re.sub(r"[^\n]", " ", text[start:end])
    bare += text[len(bare) :]
    for number, (line, rest) in enumerate(zip(text.split("\n"), bare.split("\n"), strict=True), 1):
        comment = line[rest.find("#") :].rstrip() if "#" in rest else ""
        if comment and not comment.startswith(EDITOR_LINE):
            yield number, comment


class _Builder:
    """Builds values from YAML nodes and records lines and problems."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.seen: set[yaml.Node] = set()

    def value(self, node: yaml.Node, loc: Loc, place: yaml.Node) -> Any:
        """Build the value of a field, which is at the line of `place`."""
        self.document.lines[loc] = place.start_mark.line + 1
        if node in self.seen:
            self.reject(loc, place, "uses an alias", "repeat the value")
        elif len(loc) > DEEPEST:
            self.reject(loc[:1], place, "is nested too deeply", "use fewer brackets")
        elif isinstance(node, yaml.MappingNode):
            self.seen.add(node)
            return self.mapping(node, loc)
        elif isinstance(node, yaml.SequenceNode):
            self.seen.add(node)
            return [self.value(one, (*loc, i), one) for i, one in enumerate(node.value)]
        elif node.tag == NULL:
            self.reject(loc, place, "has no value", "add one, or remove the field")
        return node.value

    def mapping(self, node: yaml.MappingNode, loc: Loc) -> dict[str, Any]:
        """Build a mapping."""
        values: dict[str, Any] = {}
        for key, value in node.value:
            inner = (*loc, key.value)
            if not isinstance(key, yaml.ScalarNode):
                self.reject(loc, key, "has a key that is not a text", "use the name of the field")
            elif key.value in values:
                first = self.document.lines[inner]
                self.reject(inner, key, f"is repeated, first in line {first}", "keep one of them")
            else:
                values[key.value] = self.value(value, inner, key)
        return values

    def reject(self, loc: Loc, place: yaml.Node, message: str, advice: str) -> None:
        """Record a problem at the line of a node."""
        line = place.start_mark.line + 1
        self.document.problems.append(
            Problem(self.document.path, line, field_path(loc), message, advice)
        )
