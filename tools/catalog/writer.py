"""The one way to write an entry: order of fields, groups, quotes, line lengths.

Text is laid out here, not by a YAML library, so that a check of the whole catalog's style takes a
fraction of a second, and so that comments follow the field that they are about when it moves.
"""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from tools.catalog.identifiers import SCHEMES
from tools.catalog.paper import (
    Claim,
    Code,
    Datasets,
    Ids,
    Links,
    Outside,
    Paper,
    Relations,
    Sources,
    Taxonomy,
)
from tools.catalog.problems import CatalogError
from tools.catalog.reader import Document, Loc, parse
from tools.catalog.remarks import Remarks, remarks
from tools.catalog.scalars import BARE, flow, key_of, scalar

SCHEMA = "# yaml-language-server: $schema=../schema.json"
WIDTH = 80

FOLDED = frozenset({"summary", "notes"})
LAST_OF_GROUP = frozenset(
    {"bibkey", "aliases", "code", "taxonomy", "datasets", "claims", "relations", "fidelity"}
)
"""A blank line parts these fields from those that follow."""
MODELS: Mapping[str, type[BaseModel]] = {
    "": Paper,
    "ids": Ids,
    "links": Links,
    "code": Code,
    "taxonomy": Taxonomy,
    "datasets": Datasets,
    "claims": Claim,
    "relations": Relations,
    "builds-on": Outside,
    "extends": Outside,
    "compares-with": Outside,
    "sources": Sources,
}
ORDER = {
    part: {field.alias or name: i for i, (name, field) in enumerate(model.model_fields.items())}
    for part, model in MODELS.items()
}
CANONICAL = {
    "arxiv": re.compile(
        rf"(?:(?:https?://)?(?:www\.|export\.)?arxiv\.org/(?:abs|pdf)/|arxiv:\s*)?"
        rf"({SCHEMES['arxiv'].form})(?:v\d+)?(?:\.pdf)?",
        re.ASCII | re.IGNORECASE,
    ),
    "doi": re.compile(
        rf"(?:(?:https?://)?(?:dx\.|www\.)?doi\.org/|doi:\s*)?({SCHEMES['doi'].form})",
        re.ASCII | re.IGNORECASE,
    ),
}


def render(paper: Paper, comment: bool = True) -> str:
    """Write a paper as the text of its file, with the line that names the schema to editors."""
    text = _write(_data(paper), Remarks())
    return text if comment else text.removeprefix(SCHEMA + "\n")


def reformat(text: str) -> str:
    """Write the text of an entry anew, comments kept; raises `CatalogError` if it does not read."""
    return canonical(_read(text))


def revise(text: str, paper: Paper) -> str:
    """Write a paper over the text of its entry; raises `CatalogError` if that does not read.

    Comments are kept, but for those about a field that is gone; equal numbers stay as written.
    """
    document = _read(text)
    return _write(_as_written(_data(paper), document.data), remarks(document.text))


def canonical(document: Document) -> str:
    """Write a document that was read without problems as `reformat` does."""
    return _write(_clean(document.data), remarks(document.text))


def _read(text: str) -> Document:
    document = parse(text, Path("entry"))
    if document.problems:
        raise CatalogError(document.problems)
    return document


def _data(paper: Paper) -> dict[str, Any]:
    dumped = paper.model_dump(by_alias=True, exclude_none=True)
    return {name: value for name, value in dumped.items() if value != {}}


def _as_written(value: Any, before: Any) -> Any:
    """Spell numbers as an older text does, where it has the same ones: 8.30 is not 8.3."""
    if isinstance(value, dict):
        old = before if isinstance(before, dict) else {}
        return {name: _as_written(one, old.get(name)) for name, one in value.items()}
    if isinstance(value, list | tuple):
        olds = before if isinstance(before, list) else []
        return [_as_written(one, old) for one, old in zip_longest(value, olds[: len(value)])]
    number = isinstance(before, str) and BARE["value"].fullmatch(before)
    return before if number and isinstance(value, float) and float(before) == value else value


def _clean(value: Any, name: str = "") -> Any:
    """Mend what has one right form: spaces, composed characters, identifiers."""
    if isinstance(value, dict):
        return {key: _clean(one, key) for key, one in value.items()}
    if isinstance(value, list):
        return [_clean(one, name) for one in value]
    text = unicodedata.normalize("NFC", " ".join(value.split()))
    found = CANONICAL[name].fullmatch(text) if name in CANONICAL else None
    if not found:
        return text
    return found[1].lower() if name == "doi" else found[1]


@dataclass
class _Item:
    """The lines of one field, or of one item of a list; `locs` are what they stand for."""

    locs: list[Loc]
    indent: int
    lines: list[str]


def _write(data: Mapping[str, Any], comments: Remarks) -> str:
    items = list(_mapping(data, (), 0))
    header = [line for line in comments.header if not line.startswith("# yaml-language-server:")]
    lines = [SCHEMA, *header]
    placed = _Placed(items, comments)
    group = 0
    for item in items:
        if item.indent == 0 and item.locs[0][0] in ORDER[""]:
            group, before = _group(str(item.locs[0][0])), group
            lines += [""] * (group != before)
        lines += placed.around(item)
    return "\n".join([*lines, *placed.footer, ""])


def _group(name: str) -> int:
    """Count the groups that end before a field."""
    return sum(ORDER[""][last] < ORDER[""][name] for last in LAST_OF_GROUP)


class _Placed:
    """Comments at the items that are written: one about a part of a line goes to the line."""

    def __init__(self, items: list[_Item], comments: Remarks) -> None:
        lines = {loc: item for item in items for loc in item.locs}

        def owner(loc: Loc) -> int | None:
            while loc and loc not in lines:
                loc = loc[:-1]
            return id(lines[loc]) if loc else None

        self.before: dict[int | None, list[str]] = {}
        self.behind: dict[int | None, list[Any]] = {}
        self.after: dict[int | None, list[str]] = {}
        for kind in ("before", "behind", "after"):
            for loc, texts in getattr(comments, kind).items():
                getattr(self, kind).setdefault(owner(loc), []).extend(texts)
        self.footer = list(comments.footer)
        self._carry_on(items)

    def _carry_on(self, items: list[_Item]) -> None:
        """Move what stands after an item to before the next one, unless that is further left.

        There it would be read the next time, and an entry is written the same however often.
        """
        for item, following in zip(items, [*items[1:], None], strict=True):
            inside = following is None or following.indent < item.indent
            if item.indent and inside:
                continue
            place = self.before.setdefault(id(following), []) if following else self.footer
            place[:0] = self.after.pop(id(item), [])

    def around(self, item: _Item) -> list[str]:
        """Return the lines of an item with its comments."""
        margin = " " * item.indent
        first, *rest = item.lines
        behind = self.behind.get(id(item), [])
        if behind:
            first = f"{first:<{behind[0].column - 2}}  {behind[0].text}"
        own = [*self.before.get(id(item), []), *(more.text for more in behind[1:])]
        after = self.after.get(id(item), [])
        return [*(margin + line for line in own), first, *rest, *(margin + line for line in after)]


def _mapping(data: Mapping[str, Any], loc: Loc, indent: int) -> Iterator[_Item]:
    part = next((str(step) for step in reversed(loc) if isinstance(step, str)), "")
    order = ORDER.get(part, {})
    for name in sorted(data, key=lambda name: order.get(name, len(order))):
        yield from _field(name, data[name], (*loc, name), indent)


def _field(name: str, value: Any, loc: Loc, indent: int) -> Iterator[_Item]:
    margin = " " * indent
    key = f"{margin}{key_of(name)}:"
    if isinstance(value, Mapping):
        if not value or (name == "datasets" and len(f"{key} {flow(value)}") <= WIDTH):
            yield _Item([loc], indent, [f"{key} {flow(value)}"])
            return
        yield _Item([loc], indent, [key])
        yield from _mapping(value, loc, indent + 2)
    elif isinstance(value, list | tuple):
        if all(isinstance(one, str) for one in value):
            texts = [scalar(one, name, flow=True) for one in value]
            yield _Item([loc], indent, _filled(f"{key} [", texts, margin + "  "))
            return
        yield _Item([loc], indent, [key])
        for index, one in enumerate(value):
            yield from _list_item(one, name, (*loc, index), indent + 2)
    elif name in FOLDED and value and value.isprintable():
        yield _Item([loc], indent, [f"{key} >-", *_folded(value, margin + "  ")])
    else:
        yield _Item([loc], indent, [f"{key} {scalar(value, name)}"])


def _list_item(value: Any, name: str, loc: Loc, indent: int) -> Iterator[_Item]:
    margin = " " * indent
    if name != "code" or not isinstance(value, Mapping) or not value:
        model = ORDER.get(name, {})
        if isinstance(value, Mapping):
            value = dict(sorted(value.items(), key=lambda pair: model.get(pair[0], len(model))))
        yield _Item([loc], indent, [f"{margin}- {flow(value, name)}"])
        return
    first, *rest = _mapping(value, loc, indent + 2)
    first.locs.append(loc)
    first.indent = indent
    first.lines[0] = f"{margin}- {first.lines[0].strip()}"
    yield from (first, *rest)


def _filled(opening: str, texts: list[str], margin: str) -> list[str]:
    """Fill lines with the items of a list, breaking after commas only."""
    whole = f"{opening}{', '.join(texts)}]"
    if len(whole) <= WIDTH or not texts:
        return [whole]
    lines = [opening + texts[0]]
    for text in texts[1:]:
        if len(lines[-1]) + len(text) + 3 > WIDTH:
            lines[-1] += ","
            lines.append(margin + text)
        else:
            lines[-1] += f", {text}"
    lines[-1] += "]"
    return lines


def _folded(text: str, margin: str) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=margin,
        subsequent_indent=margin,
        break_long_words=False,
        break_on_hyphens=False,
    )
